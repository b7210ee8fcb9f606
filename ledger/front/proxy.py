"""The API's other routes on the front: the service beside us answers, so what it counts and refuses is the same."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from ledger.errors import StoreUnavailable
from ledger.front.proxied_bodies import Content, ProxiedBodies
from ledger.http import problems
from ledger.http.problems import Problem

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Admit = Callable[[Mapping[bytes, bytes]], Awaitable[None]]
"""Raises Problem where a request's headers have no key or token that is right, and StoreUnavailable."""

CONNECT_SECONDS = 2.0
SILENT_SECONDS = 120.0
"""No route of the API takes so long to its next byte."""

LIMITS = httpx2.Limits(max_connections=128, max_keepalive_connections=32, keepalive_expiry=30.0)

_ONE_CONNECTION = frozenset({b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"})
_NOT_SENT = _ONE_CONNECTION | {b"host"}
_NOT_ANSWERED = _ONE_CONNECTION | {b"date", b"server"}
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


class Proxy:
    """Requests handed on to the service at `address` (`http://host:port`), and its answers back, part by part."""

    def __init__(self, address: str, admit: Admit) -> None:
        self._address = address
        self._admit = admit
        self._bodies = ProxiedBodies()
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS),
            limits=LIMITS,
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def hand_on(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request. The service is asked once the body is here, or is large and its sender known."""
        try:
            url = self._url(scope)
            async with self._content(scope, receive) as content:
                headers = [(name, value) for name, value in scope["headers"] if name not in _NOT_SENT]
                await self._answer(httpx2.Request(scope["method"], url, headers=headers, content=content), send)
        except Problem as problem:
            await problems.answer(problem)(scope, receive, send)
        except StoreUnavailable as error:
            await problems.answer(Problem(503, str(error), headers={"Retry-After": "1"}))(scope, receive, send)

    async def _answer(self, request: httpx2.Request, send: Send) -> None:
        """The service's answer to a request. Raises Problem where none has begun."""
        started = False
        try:
            response = await self._http.send(request, stream=True)
            try:
                kept = [(name, value) for name, value in response.headers.raw if name.lower() not in _NOT_ANSWERED]
                started = True
                await send({"type": "http.response.start", "status": response.status_code, "headers": kept})
                async for part in response.aiter_raw():
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            finally:
                await response.aclose()
        except (httpx2.HTTPError, OSError) as error:
            if started:
                raise
            away = "the service beside the front does not answer"
            raise Problem(503, away, headers={"Retry-After": "1"}) from error

    def _url(self, scope: Message) -> httpx2.URL:
        """The service's address of what is asked for. Raises Problem."""
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        query: bytes = scope["query_string"]
        target = path.partition(b"?")[0] + (b"?" + query if query else b"")
        # Some clients send a uid in UTF-8 as it is, which the service takes as well.
        target = _NOT_ASCII.sub(lambda found: b"%%%02X" % found[0][0], target)
        try:
            return httpx2.URL(self._address).copy_with(raw_path=target)
        except (httpx2.InvalidURL, ValueError) as error:
            raise Problem(400, f"the address cannot be asked for: {error}") from error

    @asynccontextmanager
    async def _content(self, scope: Message, receive: Receive) -> AsyncIterator[Content | None]:
        """What a request brings along. Raises Problem, StoreUnavailable."""
        if not any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"]):
            yield None
            return
        async with self._bodies.read(receive, lambda: self._admit(dict(scope["headers"]))) as content:
            yield content
