"""A simulation that runs, a receiver of its webhooks over real HTTP, and how the tests of them wait."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ledger.simulator.api import NodeApi
from ledger.simulator.plan import NodePlan, Plan
from ledger.simulator.runtime import Simulation

DEADLINE_SECONDS = 60.0
"""More than a busy machine takes, so that only the simulator can fail it."""


class Receiver:
    """A receiver of webhooks that answers as it is told and remembers what it got."""

    def __init__(self, answer: Callable[[], Response] = Response) -> None:
        self.got: list[tuple[str, str, bytes]] = []
        self.answer = answer
        hook = Route("/hooks/{source}/{node}/{secret}", self.hook, methods=["GET", "POST"])
        self.api = NodeApi(Starlette(routes=[hook]), 0)

    async def hook(self, request: Request) -> Response:
        self.got.append((request.method, str(request.url.path) + "?" + request.url.query, await request.body()))
        return self.answer()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api.port}"


@asynccontextmanager
async def receiving(answer: Callable[[], Response] = Response) -> AsyncIterator[Receiver]:
    receiver = Receiver(answer)
    await receiver.api.start()
    try:
        yield receiver
    finally:
        await receiver.api.stop()


@asynccontextmanager
async def simulating(names: tuple[str, ...] = ("n1",), **plan: Any) -> AsyncIterator[Simulation]:
    """A simulation whose nodes have query APIs, in which some users have come online."""
    async with receiving() as receiver:
        nodes = tuple(NodePlan(name, "secret", 0) for name in names)
        simulation = Simulation(Plan(target=receiver.url, nodes=nodes, seconds=None, seed=1, rate=50.0, **plan))
        task = asyncio.create_task(simulation.run())
        try:

            async def somebody() -> bool:
                if task.done():
                    await task
                return len(simulation.world.online()) > 5

            await until(somebody)
            yield simulation
        finally:
            simulation.stop()
            await task


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not await holds():
        assert time.monotonic() < deadline, "the deadline has passed"
        await asyncio.sleep(0.01)
