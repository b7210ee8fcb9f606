"""The canaries as a part of the service: while this instance leads, each comes and goes as often as it is set to."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import structlog
from prometheus_client import CollectorRegistry

from ledger.canary.metrics import CanaryMetrics
from ledger.canary.record import Record
from ledger.canary.shown import CanaryStreams
from ledger.canary.visit import Visit, visit
from ledger.domain.observation import Instant
from ledger.errors import StoreUnavailable
from ledger.repeated_logs import LoggedOutage
from ledger.settings import CanarySettings
from ledger.store.ledger import Ledger
from ledger.working_state import canaries, looks
from ledger.working_state.canaries import CanaryKey, CanaryRow, Noted

log = structlog.get_logger()

LOOK_SECONDS = 0.5
"""Between two looks at whether this instance leads."""
RETRY_SECONDS = 2.0
DEFECT_SECONDS = 30.0


class _Canary(NamedTuple):
    key: CanaryKey
    settings: CanarySettings


class Canaries:
    """All canaries of the settings, by source; `leads`: whether this is the instance that sends them."""

    def __init__(
        self, ledger: Ledger, of_sources: Mapping[str, Sequence[CanarySettings]], now: Callable[[], Instant],
        leads: Callable[[], bool], streams: CanaryStreams | None, registry: CollectorRegistry,
    ) -> None:  # fmt: skip
        self._ledger = ledger
        self._canaries: list[_Canary] = []
        self._registry = registry
        self._metrics: CanaryMetrics | None = None
        """Where there are none, nothing is said of them."""
        self._take(of_sources)
        self._now = now
        self._leads = leads
        self._streams = streams
        self._interrupted = LoggedOutage("canaries_interrupted", "canaries_go_on")
        self._failing: set[CanaryKey] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send them, whenever this instance leads."""
        self._task = asyncio.create_task(self._run(), name="canaries")

    async def stop(self) -> None:
        """Send them no more; one that is there goes."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def change(self, of_sources: Mapping[str, Sequence[CanarySettings]]) -> None:
        """These are those of the settings from now on."""
        before = self._canaries
        self._take(of_sources)
        if self._canaries != before:
            await self.stop()
            self.start()

    def _take(self, of_sources: Mapping[str, Sequence[CanarySettings]]) -> None:
        self._canaries = [
            _Canary(CanaryKey(each.uid, source, each.node), each)
            for source, of_source in of_sources.items()
            for each in of_source
        ]
        nodes = [(each.key.source, each.key.node) for each in self._canaries]
        if self._metrics is not None:
            self._metrics.know(nodes)
        elif nodes:
            self._metrics = CanaryMetrics(self._registry, nodes)

    async def _run(self) -> None:
        while True:
            if not self._leads():
                await asyncio.sleep(LOOK_SECONDS)
                continue
            seconds = RETRY_SECONDS
            try:
                await self._lead()
            except* StoreUnavailable as errors:
                self._interrupted.failed(str(errors.exceptions[0]))
            except* Exception as errors:  # a defect must be seen, and must not end them for good
                log.exception("canaries_failed", exc_info=errors)
                seconds = DEFECT_SECONDS
            await asyncio.sleep(seconds)

    async def _lead(self) -> None:
        for row in await asyncio.to_thread(self._begin):
            if self._metrics is not None:
                self._metrics.began(row.source, row.node, row.quiet_since, row.every_seconds)
        async with asyncio.TaskGroup() as tasks:
            flying = [tasks.create_task(self._fly(each), name=f"canary {each.key.node}") for each in self._canaries]
            await self._until_deposed()
            for task in flying:
                task.cancel()

    async def _until_deposed(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._leads():
                return

    async def _fly(self, canary: _Canary) -> None:
        """Visit after visit, until cancelled."""
        loop = asyncio.get_running_loop()
        record = Record(self._ledger, canary.key.uid, canary.settings.device_flag)
        while True:
            next_at = loop.time() + canary.settings.every_seconds
            made = await self._visit(canary, record)
            await asyncio.to_thread(self._note, canary.key, made)
            self._tell(canary.key, made)
            self._interrupted.succeeded()
            await asyncio.sleep(max(0.0, next_at - loop.time()))

    async def _visit(self, canary: _Canary, record: Record) -> Visit:
        """Raises StoreUnavailable. A defect is this canary's alone: others go on."""
        try:
            return await visit(canary.settings, record, self._streams, self._now)
        except StoreUnavailable:
            raise
        except Exception as error:  # must be seen, once
            if canary.key not in self._failing:
                log.exception("canary_defect", source=canary.key.source, node=canary.key.node)
            return Visit(self._now(), "broken", f"the canary itself failed: {type(error).__name__}")

    def _begin(self) -> list[CanaryRow]:
        """Take them up -> how they stand."""
        now = self._now()
        with self._ledger.connection() as connection, connection.transaction():
            wanted = [(each.key, each.settings.every_seconds) for each in self._canaries]
            canaries.begin(connection.cursor(), wanted, now)
            looks.remove(connection.cursor(), [each.key.uid for each in self._canaries])
            return canaries.read(connection)

    def _note(self, key: CanaryKey, made: Visit) -> None:
        stages = made.stages or (None, None, None)
        noted = Noted(made.at, made.outcome, len(made.lost), made.error, *stages)
        with self._ledger.connection() as connection:
            canaries.note(connection.cursor(), key, noted)

    def _tell(self, key: CanaryKey, made: Visit) -> None:
        """Count it, and say once that a canary fails, and once that it does so no longer."""
        assert self._metrics is not None
        self._metrics.visited(key.source, key.node, made)
        if made.error is not None and key not in self._failing:
            self._failing.add(key)
            log.warning("canary_failed", source=key.source, node=key.node, outcome=made.outcome, reason=made.error)
        elif made.error is None and key in self._failing:
            self._failing.discard(key)
            log.info("canary_succeeds", source=key.source, node=key.node)
