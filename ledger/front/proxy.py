"""The API's other routes on the front: the service beside us answers, so what it counts and refuses is the same."""

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import httpx2

from ledger.http import problems
from ledger.http.problems import Problem

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CONNECT_SECONDS = 2.0
SILENT_SECONDS = 120.0
"""No route of the API takes so long to its next byte."""

LIMITS = httpx2.Limits(max_connections=128, max_keepalive_connections=32, keepalive_expiry=30.0)

_ONE_CONNECTION = frozenset({b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"})
_NOT_SENT = _ONE_CONNECTION | {b"host"}
_NOT_ANSWERED = _ONE_CONNECTION | {b"date", b"server"}


class Proxy:
    """Requests handed on to the service at `address` (`http://host:port`), and its answers back, part by part."""

    def __init__(self, address: str) -> None:
        self._address = address
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
        """One request."""
        path = scope.get("raw_path") or scope["path"].encode()
        url = httpx2.URL(self._address).copy_with(raw_path=path.partition(b"?")[0] + _query(scope))
        headers = [(name, value) for name, value in scope["headers"] if name not in _NOT_SENT]
        has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
        content = _body(receive) if has_body else None
        request = httpx2.Request(scope["method"], url, headers=headers, content=content)
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
        except (httpx2.HTTPError, OSError):
            if started:
                raise
            problem = Problem(503, "the service beside the front does not answer", headers={"Retry-After": "1"})
            await problems.answer(problem)(scope, receive, send)


def _query(scope: Message) -> bytes:
    query: bytes = scope["query_string"]
    return b"?" + query if query else b""


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise OSError("the body was cut off")
        yield message.get("body", b"")
        if not message.get("more_body"):
            return
