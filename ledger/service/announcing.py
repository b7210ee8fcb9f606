"""Puts an instance on record: its start and its stop, in the stream of each source that can be read."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping

import structlog

from ledger import __version__
from ledger.domain.observation import Instant
from ledger.errors import StoreUnavailable
from ledger.ingest.announce import Configuration, announce_start, announce_stop
from ledger.store.ledger import Ledger

log = structlog.get_logger()

RETRY_DELAY_SECONDS = 5.0
"""Between two attempts to announce the start where it could not be: another version may have got beyond what this one
cannot read."""


class Announcing:
    """The announcements of one instance."""

    def __init__(
        self,
        ledger: Ledger,
        instance: str,
        configurations: Mapping[str, Configuration],
        now: Callable[[], Instant],
    ) -> None:
        self._ledger = ledger
        self._instance = instance
        self._configurations = configurations
        self._now = now
        self._waiting = set(configurations)
        """Sources in whose streams the start is not on record yet."""
        self._left: set[str] = set()
        """Sources that are no longer of the settings, in whose streams the stop is on record."""
        self._already_logged: set[str] = set()
        self._has_failed = False
        self._started_at: Instant | None = None
        self._stopping = asyncio.Event()
        self._again: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Record the start wherever it can be; elsewhere it is tried again until the stop. Raises StoreUnavailable."""
        self._started_at = self._now()
        await self._announce()
        self._begin_again()

    async def again(self) -> None:
        """Record what the ledger no longer knows of it, where that went back. Raises StoreUnavailable."""
        self._waiting = set(self._configurations)
        await self._announce()
        self._begin_again()

    async def change(self, configurations: Mapping[str, Configuration]) -> None:
        """Record what is new of the configurations, which hold from now on. Raises StoreUnavailable: none of it is."""
        new = {name: each for name, each in configurations.items() if self._configurations.get(name) != each}
        come_back = self._left & new.keys()
        if new:
            unreadable = await asyncio.to_thread(
                announce_start, self._ledger, self._instance, __version__, new, self._now(), None, come_back
            )
            self._waiting |= unreadable.keys()
            self._left -= new.keys()
        self._configurations = configurations
        self._begin_again()

    async def leave(self, names: Iterable[str]) -> None:
        """Record the stop in the streams of sources that are no longer of the settings."""
        known = {name for name in names if name not in self._waiting}
        self._waiting &= self._configurations.keys()
        self._left |= known
        await self._record_stop(known)

    def _begin_again(self) -> None:
        if self._waiting and (self._again is None or self._again.done()):
            self._again = asyncio.create_task(self._announce_the_others())

    async def stop(self) -> None:
        """Record an orderly stop wherever the start is on record, if the store answers."""
        self._stopping.set()
        if self._again is not None:
            await self._again
        await self._record_stop(name for name in self._configurations if name not in self._waiting)

    async def _record_stop(self, names: Iterable[str]) -> None:
        if not (names := list(names)):
            return
        try:
            unreadable = await asyncio.to_thread(announce_stop, self._ledger, self._instance, names, self._now())
        except StoreUnavailable as error:
            log.warning("stop_not_recorded", reason=str(error))
            return
        for name in unreadable:
            log.warning("stop_not_recorded", source=name, reason="its stream cannot be read")

    async def _announce(self) -> None:
        wanted = {name: each for name, each in self._configurations.items() if name in self._waiting}
        unreadable = await asyncio.to_thread(
            announce_start, self._ledger, self._instance, __version__, wanted, self._now(), self._started_at
        )
        for name, error in unreadable.items():
            if name not in self._already_logged:
                self._already_logged.add(name)
                log.error("start_not_recorded", source=name, reason=str(error))
        self._waiting = set(unreadable)

    async def _announce_the_others(self) -> None:
        while self._waiting and not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_DELAY_SECONDS):
                    await self._stopping.wait()
            if self._stopping.is_set():
                return
            try:
                await self._announce()
            except StoreUnavailable:
                continue
            except Exception:  # a defect must be seen, once, and must not keep the stop off the record
                if not self._has_failed:
                    self._has_failed = True
                    log.exception("start_not_recorded", sources=sorted(self._waiting))
