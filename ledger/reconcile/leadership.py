"""Leadership: of all instances on a database one does a thing at a time, who holds a session's advisory lock."""

import contextlib
import threading

import psycopg

from ledger.errors import StoreUnavailable
from ledger.store import session
from ledger.store.ledger import translated

LEAD_LOCK = 0x70726573_6C656164
""""pres", "lead" in ASCII: who reconciles."""

_TRY = "SELECT pg_try_advisory_lock(%s)"
_HOLDS = """
SELECT EXISTS (SELECT FROM pg_locks
                WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted
                  AND ((classid::bigint << 32) | objid::bigint) = %s)
"""


class Leadership:
    """A connection of its own that may hold a lock. For one thread at a time."""

    def __init__(self, database_url: str, lock: int = LEAD_LOCK, name: str = "leader") -> None:
        self._url = database_url
        self._lock = lock
        self._name = name
        self._connection: session.PinnedConnection | None = None
        self.trouble: str | None = None
        """Why this instance can neither lead nor see that another does."""
        self._guard = threading.Lock()

    def take(self) -> bool:
        """Whether this instance leads now. Raises StoreUnavailable."""
        try:
            leads = self._take()
        except StoreUnavailable as error:
            self.trouble = str(error)
            raise
        self.trouble = None
        return leads

    def _take(self) -> bool:
        with translated(), self._guard:
            if self._connection is None or self._connection.closed:
                self._connection = session.connect(self._url, self._name)
            row = self._connection.execute(_TRY, (self._lock,)).fetchone()
            return row is not None and bool(row[0])

    def still_holds(self) -> bool:
        """Whether the lock is still ours."""
        with self._guard:
            if self._connection is None or self._connection.closed:
                return False
            try:
                row = self._connection.execute(_HOLDS, (self._lock,)).fetchone()
            except psycopg.Error:
                return False
            return row is not None and bool(row[0])

    @property
    def connection(self) -> session.PinnedConnection:
        """The session that may hold the lock: what it writes is written by who leads. Raises StoreUnavailable."""
        if self._connection is None or self._connection.closed:
            raise StoreUnavailable("the session that held the lock is gone")
        return self._connection

    def give_up(self) -> None:
        """Let another instance lead."""
        with self._guard, contextlib.suppress(psycopg.Error):
            if self._connection is not None:
                self._connection.close()
            self._connection = None
