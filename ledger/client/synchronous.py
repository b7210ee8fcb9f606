"""The client for programs without asyncio: questions are asked by the caller's thread, streams read by one of ours."""

import asyncio
import ssl
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Coroutine, Generator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import httpx2

from ledger.client import calls, transport
from ledger.client.asynchronous import AsyncClient
from ledger.client.calls import Call
from ledger.client.transport import TIMEOUT_SECONDS, Service
from ledger.client.values import Gone, Presence, Told
from ledger.client.watching import Watch as AsyncWatch

T = TypeVar("T")
Presences: TypeAlias = list[Presence]


class _LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="presence-ledger client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns or raises."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:  # an interrupt of the wait too: what is done already is not changed by it
            future.cancel()
            raise

    def iterate(self, items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """The items of an asynchronous iterator, each when it is there."""
        try:
            while (item := self.run(_next(items))) is not None:
                yield item
        finally:
            if not self._loop.is_closed():
                self.run(_closed(items))

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Watch:
    """Some users, or a list, as they are shown: `ledger.client.AsyncWatch` without asyncio."""

    def __init__(self, watch: AsyncWatch, thread: _LoopThread) -> None:
        self._watch = watch
        self._thread = thread

    @property
    def stale(self) -> bool:
        """Whether the stream is away, so that what is known may be out of date."""
        return self._watch.stale

    def get(self, uid: str) -> Presence | None:
        """What is known of a user, without asking; None before the first answer, and of one who is not watched here."""
        return self._watch.get(uid)

    @property
    def presences(self) -> Presences:
        """What is known of all of them."""
        return self._thread.run(_presences(self._watch))

    def ready(self, timeout_seconds: float | None = None) -> Self:
        """Wait until all of them are known and right. Raises ClientError where they cannot be watched, TimedOut."""
        self._thread.run(self._watch.ready(timeout_seconds))
        return self

    def changes(self) -> Iterator[Presence | Gone]:
        """The same as iterating, with Gone for a user who left the list."""
        return self._thread.iterate(self._watch.changes())

    def __iter__(self) -> Iterator[Presence]:
        return self._thread.iterate(aiter(self._watch))

    def close(self) -> None:
        """Watch them no more; who iterates comes to an end. Any thread may call it."""
        self._thread.run(self._watch.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Client:
    """A presence ledger at `url` (`front_listen`, where streams are), asked with an API key or a stream token.

    Watches share one stream, which a thread of this client reads. Its methods raise ClientError: Unreachable, TimedOut,
    or the Problem that the service answered. Threads may share a client.
    """

    def __init__(
        self, url: str, key: str, *, timeout_seconds: float = TIMEOUT_SECONDS, verify: ssl.SSLContext | bool = True
    ) -> None:
        self._service = Service(url.rstrip("/"), key, timeout_seconds, verify)
        with transport.translated(self._service):
            self._http = httpx2.Client(**self._service.options())
        self._lock = threading.Lock()
        self._streaming: tuple[_LoopThread, AsyncClient] | None = None

    def get(self, uid: str, *, at: str | None = None) -> Presence:
        """One user's presence; of a user who is watched, and while the stream is there, without asking.

        `at` asks about the past: an instant, RFC 3339.
        """
        if at is None and self._streaming is not None:
            thread, client = self._streaming
            return thread.run(client.get(uid))
        return self._do(calls.get(uid, at))

    def query(self, uids: Sequence[str], *, fields: Sequence[str] | None = None) -> Presences:
        """The presences of up to 10,000 users in the order asked, as of one moment.

        With `fields`, such as `("status",)`, the answer is shorter: beside uid and `as_of` these alone are told.
        """
        return self._do(calls.query(uids, fields))

    def list(self, name: str) -> Presences:
        """The presences of all members of a list, by uid. Raises NotFound."""
        found: Presences = []
        after: str | None = None
        while True:
            page = self._do(calls.list_page(name, after))
            found += page.items
            after = page.next
            if after is None:
                return found

    def watch(self, uids: Collection[str] | None = None, *, list: str | None = None) -> Watch:  # noqa: A002
        """Watch users, or the members of a list, over the one stream of this client.

        Raises Invalid where the users of all watches are more than 10,000: a list may have 100,000.
        """
        thread, client = self._stream()
        return Watch(thread.run(_watch(client, uids, list)), thread)

    def follow(
        self, uids: Collection[str] | None = None, *, list: str | None = None, after: str | None = None,  # noqa: A002
        snapshot: bool | None = None,
    ) -> Iterator[Told]:  # fmt: skip
        """All that a stream of its own tells, in order and without an end: see `AsyncClient.follow`."""
        thread, client = self._stream()
        return thread.iterate(client.follow(uids, list=list, after=after, snapshot=snapshot))

    def request(self, method: str, path: str, *, params: Mapping[str, Any] | None = None, json: object = None) -> Any:
        """Any other route of the API: the JSON of its answer."""
        return self._do(calls.anything(method, path, params, json))

    def text(self, path: str, *, params: Mapping[str, Any] | None = None, accept: str) -> str | None:
        """A route's answer of another media type than JSON; None where it is not of the one asked for."""
        with transport.translated(self._service):
            response = self._http.get(path, params=dict(params or {}), headers={"Accept": accept})
        transport.check(response)
        return response.text if response.headers.get("content-type", "").startswith(accept) else None

    def lines(
        self, path: str, *, params: Mapping[str, Any] | None = None, accept: str = "application/x-ndjson"
    ) -> Iterator[str]:
        """A route's answer line by line, as it comes."""
        with (
            transport.translated(self._service),
            self._http.stream("GET", path, params=dict(params or {}), headers={"Accept": accept}) as response,
        ):
            if response.status_code != httpx2.codes.OK:
                response.read()
                transport.check(response)
            yield from (line for line in response.iter_lines() if line)

    def close(self) -> None:
        """End the streams, and close the connections."""
        with self._lock:
            streaming, self._streaming = self._streaming, None
        if streaming is not None:
            thread, client = streaming
            thread.run(client.close())
            thread.end()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stream(self) -> tuple[_LoopThread, AsyncClient]:
        with self._lock:
            if self._streaming is None:
                service = self._service
                client = AsyncClient(
                    service.url, service.key, timeout_seconds=service.timeout_seconds, verify=service.verify
                )
                self._streaming = _LoopThread(), client
            return self._streaming

    def _do(self, call: Call[T]) -> T:
        with transport.translated(self._service):
            response = self._http.request(call.method, call.path, **transport.arguments(call))
        return transport.read(call, response)


async def _next(items: AsyncIterator[T]) -> T | None:
    return await anext(items, None)


async def _closed(items: AsyncGenerator[Any, None]) -> None:
    while True:
        try:
            await items.aclose()
            return
        except RuntimeError:
            # It still runs, since its wait was interrupted a moment ago.
            await asyncio.sleep(0.01)


async def _presences(watch: AsyncWatch) -> Presences:
    return watch.presences


async def _watch(client: AsyncClient, uids: Collection[str] | None, name: str | None) -> AsyncWatch:
    return client.watch(uids, list=name)
