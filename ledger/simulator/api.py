"""The query API of one simulated node over HTTP, which listens while the node is up and refuses while it is down."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import closing

from granian.constants import Interfaces
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ledger.simulator.answers import DEFAULT_LIMIT, QueryApi
from ledger.simulator.plan import PlanError

HOST = "127.0.0.1"
LISTEN_SECONDS = 5.0
JSON = "application/json; charset=utf-8"


def _whole(request: Request, name: str, default: int) -> int:
    """A number of the query as Go's handlers read it: what is none counts as absent."""
    value = request.query_params.get(name, "")
    return int(value) if value.isdecimal() and value.isascii() else default


def make_app(api: QueryApi, node: str, now: Callable[[], float]) -> ASGIApp:
    """The routes of a node; `now` gives seconds of the run."""

    def answer(request: Request, result: tuple[int, str]) -> Response:
        if not api.admits(request.headers.get("token")):
            return Response(status_code=401)
        status, body = result
        plain = status == 404 or body.startswith("#")
        return Response(body, status, media_type="text/plain; charset=utf-8" if plain else JSON)

    async def online_status(request: Request) -> Response:
        return answer(request, api.online_status(node, await request.body()))

    async def connz(request: Request) -> Response:
        offset, limit = _whole(request, "offset", 0), _whole(request, "limit", DEFAULT_LIMIT)
        return answer(request, api.connz(node, now(), offset, limit, request.query_params.get("uid", "")))

    async def varz(request: Request) -> Response:
        return answer(request, api.varz(node, now()))

    async def metrics(request: Request) -> Response:
        return answer(request, api.metrics(node))

    routes = [
        Route("/user/onlinestatus", online_status, methods=["POST"]),
        Route("/connz", connz),
        Route("/varz", varz),
        Route("/metrics", metrics),
    ]
    return Starlette(routes=routes)


class NodeApi:
    """A node's listener. `port` 0 becomes a free one at once and stays the same over restarts."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self.port = port or _free_port()
        self._server: Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen. Raises PlanError where the port is taken."""
        if self._task is not None:
            return
        if _listens(self.port):
            raise PlanError(f"port {self.port} is taken; choose another one with --api-port")
        self._server = Server(
            self._app, address=HOST, port=self.port, interface=Interfaces.ASGINL, log_enabled=False, websockets=False
        )
        self._task = asyncio.create_task(self._server.serve())
        async with asyncio.timeout(LISTEN_SECONDS):
            while not await asyncio.to_thread(_listens, self.port):
                if self._task.done():
                    await self._task
                    raise PlanError(f"the query API could not listen at port {self.port}")
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Close the port; from now on connections are refused."""
        server, task = self._server, self._task
        self._server = self._task = None
        if server is not None and task is not None:
            server.stop()  # type: ignore[no-untyped-call]
            await task


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0
