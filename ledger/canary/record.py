"""What the ledger has on record of a canary: its webhooks, as they are committed."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from ledger.domain.events import WebhookObserved
from ledger.domain.instants import from_datetime
from ledger.domain.observation import Instant
from ledger.store.ledger import Ledger
from ledger.store.mapper import user_stream

POLL_SECONDS = 0.2
PAGE = 100
KINDS = frozenset({"webhook_observed.v1", "webhook_observed.v2"})


class RecordedItem(NamedTuple):
    """A webhook's item that is on record, and when its body had arrived and its commit was made."""

    version: int
    position: int
    conn_id: int
    received_at: Instant
    recorded_at: Instant


class Record:
    """One user's stream. Raises StoreUnavailable."""

    def __init__(self, ledger: Ledger, uid: str, device_flag: int) -> None:
        self._ledger = ledger
        self._stream = user_stream(uid)
        self._device_flag = device_flag

    async def version(self) -> int:
        """The user's last version, 0 before the first event."""
        return await asyncio.to_thread(self._last_version)

    async def online(self, after: int, seconds: float) -> RecordedItem | None:
        """The first online after a version, waited for so long: one that was overtaken is of an earlier visit."""
        return await self._wait(after, seconds, lambda event: event.online and event.verdict in ("opened", "duplicate"))

    async def offline(self, after: int, conn_id: int | None, seconds: float) -> RecordedItem | None:
        """The first offline after it, of a connection where its number is known."""
        return await self._wait(after, seconds, lambda event: not event.online and conn_id in (None, event.conn_id))

    async def _wait(self, after: int, seconds: float, is_it: Callable[[WebhookObserved], bool]) -> RecordedItem | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            # What has been committed by the deadline is seen, however long the question takes.
            is_last = loop.time() >= deadline
            found, after = await asyncio.to_thread(self._look, after, is_it)
            if found is not None or is_last:
                return found
            await asyncio.sleep(min(POLL_SECONDS, max(0.0, deadline - loop.time())))

    def _last_version(self) -> int:
        with self._ledger.connection() as connection:
            rows = self._ledger.events_recorder.stream_rows(
                self._stream, descending=True, limit=1, connection=connection
            )
        return rows[0].version if rows else 0

    def _look(self, after: int, is_it: Callable[[WebhookObserved], bool]) -> tuple[RecordedItem | None, int]:
        """-> (the event that is looked for, up to which version there is none)"""
        with self._ledger.connection() as connection:
            rows = self._ledger.events_recorder.stream_rows(
                self._stream, after=after, limit=PAGE, connection=connection
            )
        for row in rows:
            after = row.version
            if row.kind not in KINDS:
                continue
            event = self._ledger.event(row)
            if isinstance(event, WebhookObserved) and event.device_flag == self._device_flag and is_it(event):
                at = from_datetime(row.recorded_at)
                return RecordedItem(row.version, row.position, event.conn_id, event.received_at, at), after
        return None, after
