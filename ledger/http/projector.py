"""Supervises the projector's process: starts it beside the service, again when it dies, ends it with the service."""

import asyncio
import contextlib
import signal
import sys

import msgspec
import structlog

from ledger.http.follow import Orders

log = structlog.get_logger()

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
GOOD_SECONDS = 60.0
"""One that ran for so long has not failed at once: the next pause is the first again."""

ENDED_BY_SOMEBODY = (-signal.SIGTERM, -signal.SIGKILL)
"""It did not fail by itself: the next one is started without much ado."""

END_SECONDS = 2.0


class ProjectorProcess:
    """The projector of this instance, from `start` to `stop`."""

    def __init__(self, orders: Orders) -> None:
        self._orders = msgspec.json.encode(orders) + b"\n"
        self._supervising: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start it and see to it that it runs."""
        self._supervising = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        """End it; what it has under way is undone, and done again from the checkpoint."""
        assert self._supervising is not None
        self._supervising.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._supervising

    async def _supervise(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            code = await self._run()
            if code in ENDED_BY_SOMEBODY or loop.time() - started > GOOD_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            log.error("projector_ended", code=code, again_in_seconds=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _run(self) -> int:
        """One process, to its end; cancelled, it is ended."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ledger.http.follow", stdin=asyncio.subprocess.PIPE
        )
        assert process.stdin is not None
        log.info("projector_started", pid=process.pid)
        try:
            with contextlib.suppress(ConnectionError):
                process.stdin.write(self._orders)
                await process.stdin.drain()
            return await process.wait()
        finally:
            # The end of its input ends it.
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), END_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()
