"""Notes who asked about whom, where the settings ask for it: to note costs next to nothing, a thread stores it."""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import structlog
from prometheus_client import CollectorRegistry, Counter

from ledger.domain.observation import Instant
from ledger.errors import StoreUnavailable
from ledger.working_state.reads import LookUp
from projections.models.current import can_be_stored

log = structlog.get_logger()

STORE_SECONDS = 1.0
"""What is noted is stored as often."""
STOP_SECONDS = 2.0

MAX_WAITING = 1_000_000
"""Users asked about that wait while PostgreSQL is away; more are lost to the log, which is counted and said."""


class _Noted(NamedTuple):
    at: Instant
    key_name: str
    route: str
    uids: Sequence[str]


def lost_counter(registry: CollectorRegistry) -> Counter:
    """Which is there, at 0, where nobody wants to know as well."""
    return Counter(
        "presence_ledger_reads_lost_total",
        "Users asked about of whom the log does not say so, since too much of it waited for PostgreSQL",
        registry=registry,
    )


class Reads:
    """One process's notes; `store` writes them under the id of their batch, in a thread. It raises StoreUnavailable."""

    def __init__(
        self, store: Callable[[str, Iterable[LookUp]], None], now: Callable[[], Instant], lost: Counter
    ) -> None:
        self._store = store
        self._now = now
        self._noted: list[_Noted] = []
        self._batch: tuple[str, list[_Noted]] | None = None
        """What is being stored, or could not be yet."""
        self._waiting = 0
        self._is_losing = False
        self._storing: asyncio.Task[None] | None = None
        self._lost = lost

    def note(self, key_name: str, route: str, uids: Sequence[str]) -> None:
        """Somebody asks about these users."""
        if self._waiting + len(uids) > MAX_WAITING:
            if not self._is_losing:
                self._is_losing = True
                log.error("reads_lost", reason=f"more than {MAX_WAITING} wait for PostgreSQL")
            self._lost.inc(len(uids))
            return
        self._waiting += len(uids)
        self._noted.append(_Noted(self._now(), key_name, route, uids))

    def start(self) -> None:
        """Store what is noted from now on."""
        self._storing = asyncio.create_task(self._keep_storing(), name="reads")

    async def stop(self) -> None:
        """Store what has been noted, and nothing more."""
        if self._storing is not None:
            self._storing.cancel()
            await asyncio.gather(self._storing, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self.store_noted()
        if self._waiting:
            log.error("reads_lost", reason=f"{self._waiting} were not stored before the stop")
            self._lost.inc(self._waiting)

    async def _keep_storing(self) -> None:
        while True:
            await asyncio.sleep(STORE_SECONDS)
            await self.store_noted()

    async def store_noted(self) -> None:
        """Store what has been noted by now; what cannot be stored waits."""
        while self._batch is not None or self._noted:
            if self._batch is None:
                # An id for all of it: a batch whose answer was lost is not stored twice.
                self._batch, self._noted = (str(uuid.uuid4()), self._noted), []
            batch, noted = self._batch
            try:
                await asyncio.to_thread(self._write, batch, noted)
            except StoreUnavailable:
                return
            except Exception:  # whatever it is, what is asked next is to be noted
                log.exception("reads_not_stored")
                self._lost.inc(sum(len(each.uids) for each in noted))
            self._batch, self._is_losing = None, False
            self._waiting -= sum(len(each.uids) for each in noted)

    def _write(self, batch: str, noted: Iterable[_Noted]) -> None:
        self._store(batch, summed(noted))


def summed(noted: Iterable[_Noted]) -> list[LookUp]:
    """A row for each user, key and route."""
    found: dict[tuple[str, str, str], LookUp] = {}
    for at, key_name, route, uids in noted:
        for uid in uids:
            place = uid, key_name, route
            before = found.get(place)
            if before is not None:
                found[place] = before._replace(last_at=max(at, before.last_at), number=before.number + 1)
            elif can_be_stored(uid):
                found[place] = LookUp(uid, key_name, route, at, at, 1)
    return list(found.values())
