"""The process that archives once, of a service whose webhooks it must not delay: a million events take it seconds.

`python -m ledger.service.archive_process`; what it is to do is a line of JSON on standard input, whose end is its own,
and what came of it a line on standard output.
"""

import os
import sys
import threading
from datetime import UTC, datetime, timedelta

import msgspec

from ledger import archive_folder
from ledger.errors import LedgerError
from ledger.ingest.archive_turn import ArchiveWaits
from ledger.ingest.archiving import Archiving, Retention
from ledger.ingest.clock import Clock
from ledger.server.alongside import leave_signals_to_service
from ledger.server.logs import configure_logging
from ledger.settings import LogFormat, LogLevel
from ledger.store.ledger import Ledger
from ledger.store.seal import SealKey

NICENESS = 15
"""Everything else comes first."""

POOL_SIZE = 2


class ArchiveOrders(msgspec.Struct, frozen=True):
    """What the process is to do."""

    database_url: str
    seal_key: str
    folder: str
    events_days: float
    sinks: list[str]
    log_level: LogLevel
    log_format: LogFormat


class ArchiveOutcome(msgspec.Struct, frozen=True):
    """What came of it."""

    partitions: int = 0
    events: int = 0
    failed: str | None = None
    """Why it went no further, …"""
    waits: bool = False
    """… and whether that is for somebody who still needs the events, or the table."""


def run(orders: ArchiveOrders) -> ArchiveOutcome:
    """Archive all that is to be."""
    partitions = events = 0
    older_than = datetime.now(UTC) - timedelta(days=orders.events_days)
    retention = Retention(older_than, archive_folder.read(orders.folder), orders.sinks)
    try:
        ledger = Ledger(orders.database_url, SealKey(orders.seal_key), POOL_SIZE)
        try:
            for done in Archiving(ledger, orders.database_url, retention, Clock().now).run():
                partitions, events = partitions + 1, events + done.events
        finally:
            ledger.close()
    except LedgerError as error:
        return ArchiveOutcome(partitions, events, str(error), isinstance(error, ArchiveWaits))
    return ArchiveOutcome(partitions, events)


def main() -> None:
    """Archive as the first line of standard input says."""
    leave_signals_to_service()
    os.nice(NICENESS)
    orders = msgspec.json.decode(sys.stdin.readline(), type=ArchiveOrders)
    configure_logging(orders.log_level, orders.log_format)

    def end_with_service() -> None:
        # What is under way is undone by PostgreSQL, or begun again from its files.
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end_with_service, name="end with service", daemon=True).start()
    os.write(1, msgspec.json.encode(run(orders)) + b"\n")


if __name__ == "__main__":
    main()
