"""The query API of one simulated node over HTTP, which listens while the node is up and refuses while it is down."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import closing, suppress

from granian.constants import Interfaces
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ledger.simulator.answers import CONNZ, DEFAULT_LIMIT, METRICS, ONLINE_STATUS, VARZ, Reply
from ledger.simulator.commands import SEND
from ledger.simulator.node_answers import HTML, NodeAnswers, Question
from ledger.simulator.node_port import HOST, Breaks, NodePort
from ledger.simulator.plan import PlanError
from ledger.simulator.ports import free_port

LISTEN_SECONDS = 5.0
JSON = "application/json; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"


def _whole(request: Request, name: str, default: int) -> int:
    """A number of the query as Go's handlers read it: anything else counts as absent."""
    value = request.query_params.get(name, "")
    return int(value) if value.isdecimal() and value.isascii() else default


def _response(reply: Reply) -> Response:
    if reply.body == HTML:
        return Response(reply.body, reply.status, media_type="text/html")
    plain = reply.status == 404 or reply.body.startswith(b"#")
    return Response(reply.body, reply.status, media_type=PLAIN if plain else JSON)


async def _until_gone(request: Request) -> None:
    """Wait until the client has disconnected, or was disconnected."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


def make_app(node_answers: NodeAnswers, node: str, now: Callable[[], float]) -> ASGIApp:
    """The routes of a node; `now` gives seconds of the run."""

    async def answer(request: Request, question: Question) -> Response:
        if not node_answers.api.admits(request.headers.get("token")):
            return Response(status_code=401)
        timed = node_answers.ask(node, question, now())
        if timed.after_seconds > 0:
            with suppress(TimeoutError):
                # Infinitely many seconds would be more than the clock can count.
                async with asyncio.timeout(min(timed.after_seconds, 1e6)):
                    await _until_gone(request)
        return _response(timed.reply)

    async def online_status(request: Request) -> Response:
        return await answer(request, Question(ONLINE_STATUS, await request.body()))

    async def connz(request: Request) -> Response:
        offset, limit = _whole(request, "offset", 0), _whole(request, "limit", DEFAULT_LIMIT)
        uid = request.query_params.get("uid", "")
        return await answer(request, Question(CONNZ, b"", offset, limit, uid))

    async def send(request: Request) -> Response:
        return await answer(request, Question(SEND, await request.body()))

    async def varz(request: Request) -> Response:
        return await answer(request, Question(VARZ))

    async def metrics(request: Request) -> Response:
        return await answer(request, Question(METRICS))

    routes = [
        Route("/user/onlinestatus", online_status, methods=["POST"]),
        Route("/message/send", send, methods=["POST"]),
        Route("/connz", connz),
        Route("/varz", varz),
        Route("/metrics", metrics),
    ]
    return Starlette(routes=routes)


class NodeApi:
    """A node's listener: an application behind a port that can be shut, which alone is seen from outside.

    `port` 0 becomes a free one at once and stays the same while the port is shut and opened.
    """

    def __init__(self, app: ASGIApp, port: int, breaks: Breaks | None = None) -> None:
        self._app = app
        self.port = port or free_port()
        self._listener = NodePort(self.port) if breaks is None else NodePort(self.port, breaks)
        self._behind = 0
        self._server: Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen. Raises PlanError where the port is taken."""
        if self._task is not None:
            return
        if _listens(self.port):
            raise PlanError(f"port {self.port} is taken; choose another one with --api-port")
        self._behind = free_port()
        self._server = Server(
            self._app, address=HOST, port=self._behind, interface=Interfaces.ASGINL, log_enabled=False, websockets=False
        )
        self._task = asyncio.create_task(self._server.serve())
        async with asyncio.timeout(LISTEN_SECONDS):
            while not await asyncio.to_thread(_listens, self._behind):
                if self._task.done():
                    await self._task
                    raise PlanError("the query API could not listen")
                await asyncio.sleep(0.005)
        await self.open()

    async def open(self) -> None:
        """Let connections in again. Raises PlanError where the port was taken meanwhile."""
        try:
            await self._listener.open(self._behind)
        except OSError as error:
            raise PlanError(f"port {self.port} is taken; choose another one with --api-port") from error

    async def shut(self) -> None:
        """Close the port as a node that is killed does: every connection is reset, further ones are refused."""
        await self._listener.shut()

    async def stop(self) -> None:
        """Shut, and end the application."""
        await self._listener.shut()
        server, task = self._server, self._task
        self._server = self._task = None
        if server is not None and task is not None:
            server.stop()  # type: ignore[no-untyped-call]
            await task


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0
