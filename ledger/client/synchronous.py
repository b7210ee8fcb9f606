"""The client for programs without asyncio: questions are asked by the caller's thread, streams read by one of ours."""

import ssl
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import httpx2

from ledger.client import calls, transport
from ledger.client.calls import Call
from ledger.client.closing import Closing
from ledger.client.transport import TIMEOUT_SECONDS, ServiceAddress
from ledger.client.values import Presence, Told

if TYPE_CHECKING:
    from ledger.client.asynchronous import AsyncClient
    from ledger.client.loop_thread import LoopThread, Watch

T = TypeVar("T")
Presences: TypeAlias = list[Presence]


class Client(Closing):
    """A presence ledger at `url` (`front_listen`, where streams are), asked with an API key or a stream token.

    Watches share one stream, which a thread of this client reads. Its methods raise ClientError: Unreachable, TimedOut,
    or the Problem that the service answered. Threads may share a client.
    """

    def __init__(
        self, url: str, key: str, *, timeout_seconds: float = TIMEOUT_SECONDS, verify: ssl.SSLContext | bool = True
    ) -> None:
        self._service = ServiceAddress(url.rstrip("/"), key, timeout_seconds, verify)
        with transport.translated(self._service):
            self._http = httpx2.Client(**self._service.options())
        self._lock = threading.Lock()
        self._streaming: tuple[LoopThread, AsyncClient] | None = None

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

    def watch(self, uids: Collection[str] | None = None, *, list: str | None = None) -> "Watch":  # noqa: A002
        """Watch users, or the members of a list, over the one stream of this client.

        Raises Invalid where the users of all watches are more than 10,000: a list may have 100,000.
        """
        from ledger.client import loop_thread  # noqa: PLC0415  (who only asks needs no event loop)

        thread, client = self._stream()
        return loop_thread.Watch(thread.run(loop_thread.watch(client, uids, list)), thread)

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

    def _stream(self) -> "tuple[LoopThread, AsyncClient]":
        from ledger.client.asynchronous import AsyncClient  # noqa: PLC0415
        from ledger.client.loop_thread import LoopThread  # noqa: PLC0415

        with self._lock:
            if self._streaming is None:
                service = self._service
                client = AsyncClient(
                    service.url, service.key, timeout_seconds=service.timeout_seconds, verify=service.verify
                )
                self._streaming = LoopThread(), client
            return self._streaming

    def _do(self, call: Call[T]) -> T:
        with transport.translated(self._service):
            response = self._http.request(call.method, call.path, **transport.arguments(call))
        return transport.read(call, response)
