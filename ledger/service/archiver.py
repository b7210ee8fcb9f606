"""Archives once an hour, and whenever somebody asks for it, in a process of its own beside the service."""

import asyncio
import contextlib
import sys
from collections.abc import Callable

import msgspec
import structlog

from ledger.domain.observation import Instant
from ledger.http.archive import ArchiveRun
from ledger.service.archive_process import ArchiveOrders, ArchiveOutcome
from ledger.settings import Settings
from ledger.store.seal import SealKey

log = structlog.get_logger()

MODULE = "ledger.service.archive_process"

FIRST_SECONDS = 60.0
"""After the start, when there is enough else to do."""
EVERY_SECONDS = 3600.0

END_SECONDS = 2.0


class Archiver:
    """One instance's share in it: of several at once one does it."""

    def __init__(
        self, database_url: str, seal_key: SealKey, settings: Callable[[], Settings], now: Callable[[], Instant]
    ) -> None:
        self._database_url = database_url
        self._seal_key = seal_key
        self._settings = settings
        self._now = now
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.run: ArchiveRun = ArchiveRun()
        self.pid: int | None = None
        """Of the process that archives, while there is one."""

    def start(self) -> None:
        """Begin to archive from time to time."""
        self._task = asyncio.create_task(self._keep_archiving(), name="archive")

    async def stop(self) -> None:
        """Archive no more; what is under way is begun again some time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def order(self) -> None:
        """Have it done now, where anything is to be archived at all."""
        if self._settings().events_days:
            self.run = msgspec.structs.replace(self.run, is_running=True)
            self._asked.set()

    async def _keep_archiving(self) -> None:
        pause = FIRST_SECONDS
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._asked.wait()
            self._asked.clear()
            pause = EVERY_SECONDS
            if self._settings().events_days:
                self.run = msgspec.structs.replace(self.run, is_running=True)
                outcome = await self._archive()
                self._tell(outcome)
                self.run = self._after(outcome)

    def _after(self, outcome: ArchiveOutcome) -> ArchiveRun:
        now, since = self._now(), None
        if outcome.failed is not None:
            since = now if self.run.failing_since is None or outcome.partitions else self.run.failing_since
        return ArchiveRun(self._asked.is_set(), now, outcome.events, outcome.failed, since, outcome.waits)

    def _tell(self, outcome: ArchiveOutcome) -> None:
        if outcome.partitions:
            log.info("archived", partitions=outcome.partitions, events=outcome.events)
        if outcome.failed is not None and outcome.failed != self.run.failed:
            log.error("archive_stopped", reason=outcome.failed, meaning="what was not archived stays in the database")

    async def _archive(self) -> ArchiveOutcome:
        """One run, to its end; what keeps it from being made is one that failed, and another is made in an hour."""
        try:
            return await self._run_process()
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            return ArchiveOutcome(failed=f"the process that archives could not be run, or be understood: {error}")

    async def _run_process(self) -> ArchiveOutcome:
        """Cancelled, the process is ended."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", MODULE, stdin=pipe, stdout=pipe)
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        try:
            with contextlib.suppress(ConnectionError):
                process.stdin.write(msgspec.json.encode(self._orders()) + b"\n")
                await process.stdin.drain()
            line = await process.stdout.readline()
            if line:
                return msgspec.json.decode(line, type=ArchiveOutcome)
            return ArchiveOutcome(failed=f"the process that archives ended with code {await process.wait()}")
        finally:
            self.pid = None
            # The end of its input ends it.
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), END_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()

    def _orders(self) -> ArchiveOrders:
        settings = self._settings()
        return ArchiveOrders(
            database_url=str(self._database_url),
            seal_key=self._seal_key.text,
            folder=str(settings.archive_dir),
            events_days=settings.events_days,
            sinks=[sink.name for sink in settings.sinks],
            log_level=settings.log_level,
            log_format=settings.log_format,
        )
