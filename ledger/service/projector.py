"""The projector's process: follows the ledger alongside the service, and ends when that does.

`python -m ledger.service.projector`; what it is to do is a line of JSON on standard input, since a database's URL may
hold a password and everybody can read a command line. The end of that input is the end of the service.
"""

import gc
import os
import sys
import threading
import time
from collections.abc import Callable

import msgspec
import psycopg
import structlog
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger import archive_folder
from ledger.archive_folder import Folder
from ledger.errors import LedgerError, StoreUnavailable
from ledger.server.alongside import leave_signals_to_service
from ledger.server.logs import configure_logging
from ledger.service.mending import Mending
from ledger.settings import LogFormat, LogLevel
from ledger.store import session
from ledger.store.commit import CHANNEL
from ledger.store.ledger import translated
from projections.engine import rebuild
from projections.engine.projector import BATCH_EVENTS, Projector
from projections.models.registry import FOLLOWING

log = structlog.get_logger()

NICENESS = 10
"""Ingest comes first."""

POLL_SECONDS = 1.0
"""Looked at as often even if no notification comes: one may be lost."""

GATHER_SECONDS = 0.05
"""Under load commits follow one another within milliseconds; what they bring in this time is one batch."""

REST = 3.0
"""While webhooks come it rests, for so many times as long as a round took at most: they come first, and what its
statements take of PostgreSQL has no niceness."""
MAX_REST_SECONDS = 1.0

FAR_BEHIND = 200_000
"""The further behind it is, the less it rests; so many positions behind, not at all."""

MAX_WAY_SECONDS = 60.0
"""A spool of hours takes long, and lists and timelines are not to be as old as that."""
WAY_LOOK_SECONDS = 0.05

INITIAL_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 2.0

# Losing the last batches in a crash of the server costs nothing: the checkpoint is lost with them.
_PREPARE = ("SET synchronous_commit = off", f"LISTEN {CHANNEL}")


class ProjectorOrders(msgspec.Struct, frozen=True):
    """What the process is to do."""

    database_url: str
    archive_dir: str
    """The folder of what was archived, which a rebuild reads, too."""
    log_level: LogLevel
    log_format: LogFormat
    gives_way: bool = False
    """Webhooks that came while PostgreSQL was away are being stored: they come first."""


class Way:
    """Whether the projector is to stand back, of which one thread tells and another one asks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._given_at: float | None = None

    def order(self, gives_way: bool) -> None:
        """It is to stand back from now on, or no longer."""
        if not gives_way:
            self._given_at = None
        elif self._given_at is None:
            self._given_at = self._clock()

    def is_given(self) -> bool:
        """Whether it is to stand back now; for `MAX_WAY_SECONDS` at a time."""
        given_at = self._given_at
        return given_at is not None and self._clock() - given_at < MAX_WAY_SECONDS


def follow(
    database_url: str,
    projector: Projector,
    ended: Callable[[], bool] = lambda: False,
    stands_back: Callable[[], bool] = lambda: False,
    archive: Folder | None = None,
) -> None:
    """Follow the ledger until the end, over one connection after another; logs once when one is lost.

    `archive`: the folder of its files.
    """
    pause, lost, cleared = INITIAL_BACKOFF_SECONDS, False, False
    mending = Mending(database_url, archive)
    while not ended():
        try:
            with translated(), _connected(database_url) as connection:
                if lost:
                    log.info("projector_connected")
                if not cleared:
                    _clear_remains(connection)
                    cleared = True
                while not ended():
                    if stands_back():
                        time.sleep(WAY_LOOK_SECONDS)
                        continue
                    head, started = projector.head, time.monotonic()
                    more = projector.round(connection)
                    pause, lost = INITIAL_BACKOFF_SECONDS, False
                    mending.mend(connection, projector.astray)
                    if not more:
                        _wait(connection)
                    else:
                        took = time.monotonic() - started
                        time.sleep(rest_seconds(took, grown=projector.head - head, behind=projector.behind))
        except StoreUnavailable as error:
            if not lost:
                log.warning("projector_lost_connection", reason=str(error))
            lost = True
            time.sleep(pause)
            pause = min(pause * 2, MAX_BACKOFF_SECONDS)


def rest_seconds(took: float, *, grown: int, behind: int) -> float:
    """How long to rest after a round that took so long and began so far behind; `grown`: by how much since the last."""
    busy, near = min(1.0, grown / BATCH_EVENTS), max(0.0, 1 - behind / FAR_BEHIND)
    return min(MAX_REST_SECONDS, REST * took * busy * near)


def _connected(database_url: str) -> Connection[TupleRow]:
    connection = session.connect(database_url, "projector")
    for statement in _PREPARE:
        connection.execute(statement)
    return connection


def _clear_remains(connection: Connection[TupleRow]) -> None:
    try:
        rebuild.clear_remains(connection)
    except psycopg.errors.InsufficientPrivilege as error:
        log.warning("rebuild_not_cleared", reason=str(error), way_out="drop the schema that a killed rebuild left")


def _wait(connection: Connection[TupleRow]) -> None:
    """Until a commit is announced, and what follows it at once has gathered; not for ever."""
    for _ in connection.notifies(timeout=POLL_SECONDS, stop_after=1):
        time.sleep(GATHER_SECONDS)


def _end_with_service(way: Way) -> None:
    """Whatever is under way is undone by the database, and done again from the checkpoint."""
    for line in sys.stdin:
        orders = _decoded(line)
        configure_logging(orders.log_level, orders.log_format)
        way.order(orders.gives_way)
    os._exit(0)


def _decoded(line: str) -> ProjectorOrders:
    return msgspec.json.decode(line, type=ProjectorOrders)


def main() -> None:
    """Follow as the first line of standard input says."""
    leave_signals_to_service()
    os.nice(NICENESS)
    orders = _decoded(sys.stdin.readline())
    configure_logging(orders.log_level, orders.log_format)
    way = Way()
    way.order(orders.gives_way)
    threading.Thread(target=_end_with_service, args=(way,), name="end with service", daemon=True).start()
    # Events hold no cycles, and a collection walks a whole batch of them for nothing.
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    try:
        follow(
            orders.database_url,
            Projector(FOLLOWING),
            stands_back=way.is_given,
            archive=archive_folder.read(orders.archive_dir),
        )
    except LedgerError as error:
        log.error("projector_failed", reason=str(error))  # noqa: TRY400  (its text says it all)
        sys.exit(1)


if __name__ == "__main__":
    main()
