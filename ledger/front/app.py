"""The front's ASGI application: streams and the console of our own, the rest from the service, and to which origins."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response

from ledger.console.app import Console
from ledger.errors import StoreUnavailable
from ledger.front import client_files, sse, ws
from ledger.front.client_files import ClientFiles
from ledger.front.figures import Figures
from ledger.front.proxy import Proxy
from ledger.front.streams import Streams
from ledger.http import problems
from ledger.http.problems import Problem
from ledger.server.stuck import answer_who_reads
from ledger.settings import MetricsScope

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PREFLIGHT_SECONDS = 600


class Front:
    """One front; `origins` are the web origins whose pages may use it from a browser."""

    def __init__(
        self,
        streams: Streams,
        proxy: Proxy,
        console: Console,
        figures: Figures,
        origins: frozenset[str],
        metrics_scope: MetricsScope = "read",
    ) -> None:
        self._streams = streams
        self._proxy = proxy
        self._console = console
        self._figures = figures
        self._origins = origins
        self._metrics_scope = metrics_scope
        self._client = ClientFiles()

    def change(self, origins: frozenset[str], metrics_scope: MetricsScope) -> None:
        """These hold from now on."""
        self._origins, self._metrics_scope = origins, metrics_scope

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request or WebSocket."""
        path = scope["path"]
        if scope["type"] == "websocket":
            if path == "/v1/ws":
                await ws.websocket(self._streams, scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": "there is no WebSocket here"})
            return
        if path.startswith(client_files.PREFIX):
            # To any origin.
            await self._client.answer(scope["method"], path, Headers(scope=scope))(scope, receive, send)
            return
        if Console.takes(path):
            # To no other origin: its pages are of the one who is logged in.
            await answer_who_reads(self._console, scope, receive, send)
            return
        cors = self._cors(dict(scope["headers"]).get(b"origin", b"").decode("latin-1"))
        send = _with_headers(send, cors)
        if path == "/v1/stream" and scope["method"] in ("GET", "POST"):
            await sse.stream(self._streams, scope, receive, send)
        elif path == "/metrics" and scope["method"] in ("GET", "HEAD"):
            await (await self._metrics(scope))(scope, receive, send)
        elif (own := self._answer(scope, path, cors)) is not None:
            await own(scope, receive, send)
        else:
            await answer_who_reads(self._proxy.hand_on, scope, receive, send)

    def _answer(self, scope: Message, path: str, cors: list[tuple[bytes, bytes]]) -> Response | None:
        """What needs nobody else."""
        if scope["method"] == "OPTIONS":
            return _preflight(cors)
        if path == "/health/live":
            return JSONResponse({"status": "live"})
        if path == "/v1/stream":
            return problems.answer(Problem(405, "GET or POST", headers={"Allow": "GET, POST"}))
        if path == "/v1/ws":
            return problems.answer(
                Problem(426, "a WebSocket", headers={"Upgrade": "websocket"}, title="Upgrade required")
            )
        if path.startswith("/hooks/"):
            return problems.answer(Problem(404, "webhooks go to the service's own address (listen)"))
        return None

    async def _metrics(self, scope: Message) -> Response:
        """The front's own, for a key of the scope that the service's want as well."""
        try:
            if self._metrics_scope != "none":
                await self._streams.access.expect(dict(scope["headers"]), self._metrics_scope)
        except Problem as problem:
            return problems.answer(problem)
        except StoreUnavailable as error:
            return problems.from_ledger_error(error, self._streams.outages, scope["path"])
        return Response(self._figures.exposition(), media_type=self._figures.media_type)

    def _cors(self, origin: str) -> list[tuple[bytes, bytes]]:
        if not origin or origin not in self._origins:
            return []
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", b"ETag, Retry-After"),
            (b"vary", b"Origin"),
        ]


def _with_headers(send: Send, extra: Sequence[tuple[bytes, bytes]]) -> Send:
    """Adds headers to whatever is answered, problems as well: a page may read what it may ask for."""
    if not extra:
        return send

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await send(message)

    return send_with_headers


def _preflight(cors: list[tuple[bytes, bytes]]) -> Response:
    answer = Response(status_code=204 if cors else 403)
    if cors:
        answer.raw_headers += [
            (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
            (b"access-control-allow-headers", b"Authorization, Content-Type, Last-Event-ID, If-None-Match"),
            (b"access-control-max-age", str(PREFLIGHT_SECONDS).encode()),
        ]
    return answer
