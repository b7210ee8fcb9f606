"""The bodies of requests that are handed on: here before the service is asked, large ones from known senders, by turns.

A connection to the service that waits for a sender is one that nobody else has. So none waits for a small body, and few
for large ones, which are too much to be kept here.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import ExitStack, asynccontextmanager
from typing import Any, TypeAlias

from ledger.http.bodies import BODY_SECONDS, LARGE_BYTES, TooSlow
from ledger.http.problems import Problem

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Content: TypeAlias = bytes | AsyncIterator[bytes]
"""The whole body, or its parts as they come."""

LARGE_BODIES = 8
"""So many large ones are on their way at a time."""


class ProxiedBodies:
    """Those of a process."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(LARGE_BODIES)

    @asynccontextmanager
    async def read(self, receive: Receive, admit: Callable[[], Awaitable[None]]) -> AsyncIterator[Content]:
        """A request's body; `admit` raises where its sender may not send a large one.

        Raises Problem, here or from the parts: cut off, not complete after BODY_SECONDS, or too many at once.
        """
        until = asyncio.get_running_loop().time() + BODY_SECONDS
        parts = _parts(receive, until)
        begin = b""
        async for part in parts:
            begin += part
            if len(begin) > LARGE_BYTES:
                break
        else:
            yield begin
            return
        await admit()
        with ExitStack() as turn:
            await self._take_turn(until)
            turn.callback(self._turns.release)
            yield _all(begin, parts, turn)

    async def _take_turn(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._turns.acquire()
        except TimeoutError as error:
            raise Problem(503, "too many large bodies at once", headers={"Retry-After": "1"}) from error


async def _all(begin: bytes, parts: AsyncIterator[bytes], turn: ExitStack) -> AsyncIterator[bytes]:
    """The parts of a large body; after the last one it is another's turn."""
    yield begin
    async for part in parts:
        yield part
    turn.close()


async def _parts(receive: Receive, until: float) -> AsyncIterator[bytes]:
    more = True
    while more:
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError as error:
            raise TooSlow from error
        if message["type"] == "http.disconnect":
            raise Problem(400, "the body was cut off")
        more = message.get("more_body", False)
        yield message.get("body", b"")
