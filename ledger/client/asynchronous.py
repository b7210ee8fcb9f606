"""The client for programs on asyncio."""

import ssl
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias, TypeVar

import httpx2

from ledger.client import calls, transport
from ledger.client.calls import Call
from ledger.client.closing import AsyncClosing
from ledger.client.follower import Follower
from ledger.client.transport import TIMEOUT_SECONDS, ServiceAddress
from ledger.client.values import Presence, Told
from ledger.client.watching import SharedFeed, Watch

T = TypeVar("T")
Presences: TypeAlias = list[Presence]

LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=15.0)


class AsyncClient(AsyncClosing):
    """A presence ledger at `url` (`front_listen`, where streams are), asked with an API key or a stream token.

    Watches share one stream. Its methods raise ClientError: Unreachable, TimedOut, or the Problem that the service
    answered.
    """

    def __init__(
        self, url: str, key: str, *, timeout_seconds: float = TIMEOUT_SECONDS, verify: ssl.SSLContext | bool = True
    ) -> None:
        self._service = ServiceAddress(url.rstrip("/"), key, timeout_seconds, verify)
        with transport.translated(self._service):
            self._http = httpx2.AsyncClient(limits=LIMITS, **self._service.options())
        self._feeds: dict[str | None, SharedFeed] = {}

    async def get(self, uid: str, *, at: str | None = None) -> Presence:
        """One user's presence; of a user who is watched, and while the stream is there, without asking.

        `at` asks about the past: an instant, RFC 3339.
        """
        users = self._feeds.get(None)
        if at is None and users is not None and users.cache.is_right(uid):
            known = users.cache.get(uid)
            assert known is not None
            return known
        return await self._do(calls.get(uid, at))

    async def query(self, uids: Sequence[str], *, fields: Sequence[str] | None = None) -> Presences:
        """The presences of up to 10,000 users in the order asked, as of one moment.

        With `fields`, such as `("status",)`, the answer is shorter: beside uid and `as_of` these alone are told.
        """
        return await self._do(calls.query(uids, fields))

    async def list(self, name: str) -> Presences:
        """The presences of all members of a list, by uid. Raises NotFound."""
        found: Presences = []
        after: str | None = None
        while True:
            page = await self._do(calls.list_page(name, after))
            found += page.items
            after = page.next
            if after is None:
                return found

    def watch(self, uids: Collection[str] | None = None, *, list: str | None = None) -> Watch:  # noqa: A002
        """Watch users, or the members of a list, over the one stream of this client; call it within the event loop.

        Raises Invalid where the users of all watches are more than 10,000: a list may have 100,000.
        """
        if (uids is None) == (list is None):
            raise ValueError("name the users, or a list")
        feed = self._feeds.get(list)
        if feed is None:
            feed = self._feeds[list] = SharedFeed(Follower(self._http, self._service), self.query, list)
        return feed.add(uids)

    async def follow(
        self, uids: Collection[str] | None = None, *, list: str | None = None, after: str | None = None,  # noqa: A002
        snapshot: bool | None = None,
    ) -> AsyncGenerator[Told, None]:  # fmt: skip
        """All that a stream of its own tells of some users, of a list, or of everybody, in order and without an end.

        `after` is the `cursor` of what was dealt with last. `snapshot`: whether all users are told of where the stream
        cannot go on from there; by default where users or a list are named. Where the stream breaks it is opened again,
        and `Disconnected` stands in between. Raises ClientError where trying again would not help.
        """
        follower = Follower(self._http, self._service, after)
        call = calls.stream(None if uids is None else sorted(uids), list, snapshot)
        async with aclosing(follower.follow(call)) as following:
            async for told in following:
                yield told

    async def request(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, json: object = None
    ) -> Any:
        """Any other route of the API: the JSON of its answer."""
        return await self._do(calls.anything(method, path, params, json))

    async def close(self) -> None:
        """End the streams, and close the connections."""
        for feed in self._feeds.values():
            await feed.close()
        self._feeds.clear()
        await self._http.aclose()

    async def _do(self, call: Call[T]) -> T:
        with transport.translated(self._service):
            response = await self._http.request(call.method, call.path, **transport.arguments(call))
        return transport.read(call, response)
