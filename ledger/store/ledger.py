"""The ledger as an `eventsourcing` application: recorder, mapper and pool, built for one database URL."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, cast

import psycopg
import psycopg.errors
from eventsourcing.application import Application
from eventsourcing.persistence import (
    BaseInfrastructureFactory,
    InterfaceError,
    Mapper,
    OperationalError,
    PersistenceError,
)
from eventsourcing.postgres import PostgresDatastore, PostgresFactory
from eventsourcing.utils import Environment
from psycopg.rows import TupleRow, dict_row

from ledger.domain.event_types import Event
from ledger.errors import StoreFull, StoreUnavailable
from ledger.store import seals
from ledger.store.commit import COMMIT_LOCK
from ledger.store.mapper import EventMapper
from ledger.store.pooled import Route
from ledger.store.recorder import LedgerRecorder, StoredRow
from ledger.store.seal import SealKey
from ledger.store.session import APPLICATION

DATABASE_URL = "DATABASE_URL"
POOL_SIZE = "POOL_SIZE"
SEAL_KEY = "SEAL_KEY"
TRANSACTION_SETTINGS = "TRANSACTION_SETTINGS"
CONNECT_SECONDS = 2.0
"""How long a call waits for a connection of the pool before the store counts as away."""
RECONNECT_SECONDS = 2.0
"""How long a pool tries by itself to replace a lost connection; after that, the next request makes it try again."""


_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(%s) WHERE set_config('lock_timeout', '1s', true) IS NOT NULL"

_APPEND = """
INSERT INTO events (stream, version, position, kind, payload, recorded_at)
VALUES ('a trial', 0, 0, 'trial', '{}', clock_timestamp())
"""


class LedgerDatastore(PostgresDatastore):
    """The library's datastore and pool, for any URL that libpq understands."""

    def __init__(self, route: Route, pool_size: int) -> None:
        super().__init__("", "", "", "", "", originator_id_type="text", pool_size=1, connect_timeout=CONNECT_SECONDS)
        # The library takes five parts of a URL; libpq knows more (sslmode, options, several hosts).
        self.pool.conninfo = route.url
        self.pool.connection_class = cast(Any, route.connection_class)
        self.pool.kwargs = {"row_factory": dict_row, "application_name": APPLICATION} | route.parameters
        # Attempts whose pauses have doubled for as long as an outage lasted would find its end as much later.
        self.pool.reconnect_timeout = RECONNECT_SECONDS
        self.pool.resize(1, max(1, pool_size))

    def after_connect_func(self) -> Callable[[psycopg.Connection[Any]], None]:
        """In autocommit; all else was set as it connected."""

        def after_connect(connection: psycopg.Connection[Any]) -> None:
            connection.autocommit = True

        return after_connect


class LedgerFactory(PostgresFactory):
    """Builds the parts of the ledger; the library finds it by its topic."""

    def __init__(self, env: Environment | dict[str, str] | None) -> None:
        BaseInfrastructureFactory.__init__(self, env)
        route = Route(self.env[DATABASE_URL], self.env.get(TRANSACTION_SETTINGS) or "")
        self.datastore = LedgerDatastore(route, int(self.env.get(POOL_SIZE) or "4"))

    def application_recorder(self) -> LedgerRecorder:
        return LedgerRecorder(self.datastore, SealKey(self.env[SEAL_KEY]))

    def mapper(self, *_: Any, **__: Any) -> Mapper[Any]:
        return EventMapper()


class Ledger(Application[str]):
    """Every event, by stream and by position, sealed as it is appended.

    Raises StoreUnavailable and StoreFull through `translated`.
    """

    env: ClassVar[dict[str, str]] = {
        "PERSISTENCE_MODULE": "ledger.store.ledger:LedgerFactory",
        "CREATE_TABLE": "no",
    }

    def __init__(self, route: Route | str, seal_key: SealKey, pool_size: int = 4) -> None:
        """`route`: how its pool connects, or the URL of a database whose connections are sessions."""
        url, settings = Route(route) if isinstance(route, str) else route
        env = {DATABASE_URL: url, TRANSACTION_SETTINGS: settings, SEAL_KEY: seal_key.text, POOL_SIZE: str(pool_size)}
        with translated():
            super().__init__(env)
        self.is_pooled = bool(settings)
        """Whether a pooler lends the pool its sessions, for a transaction each."""
        self.events_recorder = cast(LedgerRecorder, self.recorder)
        self.events_mapper = cast(EventMapper, self.mapper)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[TupleRow]]:
        """A connection of the pool whose rows are tuples, errors translated."""
        with translated(), self.events_recorder.connection() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[psycopg.Connection[TupleRow]]:
        """The same to learn what is kept in memory: should the ledger go back behind what was read, that shows.

        One connection is to one server, whose last seal stands on all that was read before.
        """
        lineage = self.events_recorder.lineage
        number = lineage.number
        with self.connection() as connection:
            yield connection
            if (last := seals.last(connection)) is not None:
                lineage.note(last, number)

    @property
    def lineage(self) -> int:
        """Grows with each time that the ledger was found to have gone back: what was learnt before no longer stands."""
        return self.events_recorder.lineage.number

    def look(self) -> int:
        """Find out whether it went back, and put that on record -> its lineage. Raises StoreUnavailable."""
        with translated():
            return self.events_recorder.look()

    def event(self, row: StoredRow) -> Event:
        """The event of a stored row. Raises UnreadableEvent, which names the position."""
        return self.events_mapper.event_at(row.position, row.kind, row.payload)


def try_to_write(ledger: Ledger) -> None:
    """Append an event in a transaction that is rolled back. Raises StoreUnavailable where that cannot be now."""
    with ledger.connection() as connection, connection.transaction(force_rollback=True):
        row = connection.execute(_TRY_LOCK, (COMMIT_LOCK,)).fetchone()
        if row is None or not row[0]:
            raise psycopg.errors.LockNotAvailable("the ledger's lock is held")
        connection.execute(_APPEND)


@contextmanager
def translated() -> Iterator[None]:
    """The one seam where errors of the library and the driver become ours.

    What says that PostgreSQL is away, restarting, full, read-only, locked by somebody else for long or otherwise not
    what it was is StoreUnavailable or StoreFull; anything else is a defect and passes.
    """
    try:
        yield
    except (PersistenceError, psycopg.Error) as error:
        cause = error.__cause__ if isinstance(error, PersistenceError) else error
        if isinstance(cause, psycopg.errors.LockNotAvailable):
            raise StoreUnavailable(LOCKED) from error
        if isinstance(cause, psycopg.errors.DiskFull):
            raise StoreFull("PostgreSQL has no disk space left; free some, nothing accepted is lost") from error
        if isinstance(cause, psycopg.Error) and (cause.sqlstate or "").startswith(_TOO_MUCH):
            raise
        away = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)
        if isinstance(cause, _CHANGED):
            raise StoreUnavailable(f"PostgreSQL refuses: {_first_line(cause)}") from error
        if isinstance(error, away) or isinstance(cause, away):
            raise StoreUnavailable(f"PostgreSQL does not answer: {_first_line(cause or error)}") from error
        raise


LOCKED = (
    "the ledger is locked by another writer, such as an import that writes its slice; nothing was stored, try again"
    " when it is done"
)

_TOO_MUCH = "54"
"""The class of what is too large or too complex for PostgreSQL, whenever it is asked."""

_CHANGED = (
    psycopg.InternalError,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.InvalidCatalogName,
    psycopg.errors.InvalidSqlStatementName,
)
"""What a server says whose state or whose rights were changed under us: read-only, a session that ended in the middle
of a transaction, a grant taken back, a database gone, a statement prepared in another session."""


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
