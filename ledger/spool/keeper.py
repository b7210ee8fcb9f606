"""The keeper: one thread that writes what is to be spooled, everything that waits with one fsync."""

import queue
import threading
from collections.abc import Callable

import structlog

from ledger.ingest.ticket import Ticket
from ledger.spool.files import SpoolFiles, SpoolFull
from ledger.spool.format import SpooledWebhook

log = structlog.get_logger()

MAX_GATHERED_BYTES = 8 * 1_048_576

Kept = Callable[[list[Ticket], int, SpoolFull | None], None]
"""Told of tickets, how many of the first of them are durable, and why the others are not."""


class Keeper:
    """From `start` to `stop`; `kept` is called from its thread."""

    def __init__(self, files: SpoolFiles, kept: Kept) -> None:
        self._files = files
        self._kept = kept
        self._queue: queue.SimpleQueue[Ticket | Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, ticket: Ticket) -> None:
        """Write it."""
        self._queue.put(ticket)

    def close_empty(self) -> None:
        """Delete the file that is written to, if all in it is in the ledger."""
        self._queue.put(self._files.close_empty)

    def stop(self, seconds: float) -> bool:
        """Write what was put, and no more; whether that was done in time."""
        self._queue.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            if not isinstance(first, Ticket):
                first()
                continue
            tickets, then = self._gather(first)
            webhooks = [SpooledWebhook(t.delivery, t.source, t.node, t.received_at, t.body) for t in tickets]
            try:
                number, error = self._files.append(webhooks)
            except Exception as defect:  # it must be seen, and must not end the thread
                log.exception("spool_failed")
                number, error = 0, SpoolFull(f"the spool cannot be written: {defect}")
            self._kept(tickets, number, error)
            if then is None:
                return
            then()

    def _gather(self, first: Ticket) -> tuple[list[Ticket], Callable[[], None] | None]:
        """What waits, and what is to be done after it; None: nothing ever."""
        tickets, size = [first], len(first.body)
        while size < MAX_GATHERED_BYTES:
            try:
                another = self._queue.get_nowait()
            except queue.Empty:
                break
            if not isinstance(another, Ticket):
                return tickets, another
            tickets.append(another)
            size += len(another.body)
        return tickets, lambda: None
