"""The two ways to one database: for what holds a session, and through a pooler for all that needs a transaction alone.

Looked at before the product relies on them: that they lead to the same database, and that the pooler lends a session
for as long as a transaction takes, to more than one at a time.
"""

import secrets
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg

from ledger.store import preflight, session
from ledger.store.pooled import PooledConnection, Route
from ledger.store.preflight import Warned
from ledger.store.pulse import PROBE_SECONDS
from ledger.store.unfit import DatabasesDiffer

LEND_SECONDS = 5.0
"""So long a pooler may take to lend a second session before it is said that it lends but one."""

_HOLD = "SELECT pg_advisory_xact_lock(%s)"
_IS_FREE = "SELECT pg_try_advisory_xact_lock(%s)"


class Examined(NamedTuple):
    """How the pools go through the pooler, which will do."""

    route: Route
    lends_several: bool

    def warnings(self) -> Iterator[Warned]:
        """What is worth a word, but does not prevent a start."""
        if not self.lends_several:
            yield Warned(
                "pooler_lends_one_session",
                f"the pooler of database_url lent no second session within {LEND_SECONDS:.0f} s of the first",
                "raise its default_pool_size: a webhook of very many items is judged over one while it is written over "
                "another, and questions wait for both",
            )


def examine(pooled_url: str, session_url: str) -> Examined:
    """Look at both; nothing is written. Raises DatabaseUnfit, StoreUnavailable."""
    with _named("database_session_url"), session.connect(session_url, "start") as own:
        route = Route(pooled_url, session.for_transactions(own))
        with _named("database_url"), connect(route) as first, connect(route) as second:
            _expect_same_database(own, first)
            return Examined(route, _lends_two(first, second))


def log_in(pooled_url: str) -> None:
    """Have the pooler let us in. Raises psycopg.Error."""
    connect(Route(pooled_url)).close()


def connect(route: Route, **parameters: Any) -> PooledConnection:
    """A connection through the pooler. Raises psycopg.Error."""
    named = f"{session.APPLICATION} start"
    return PooledConnection.connect(route.url, settings=route.settings, application_name=named, **parameters)


def probe(route: Route) -> Callable[[str], None] | None:
    """Returns once both answer, given the URL of the one for sessions; None where there is one way alone."""
    if not route.settings:
        return None

    def answer(session_url: str) -> None:
        session.connect(session_url, "pulse", connect_timeout=PROBE_SECONDS).close()
        # The pooler lets in by itself: no session of the server is waited for.
        connect(route, connect_timeout=PROBE_SECONDS).close()

    return answer


@contextmanager
def _named(setting: str) -> Iterator[None]:
    """What cannot be reached is told by the setting that has its URL."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise preflight.refusal(error, setting) from error


def _expect_same_database(own: psycopg.Connection[Any], pooled: PooledConnection) -> None:
    """A lock that the one holds, the other must find taken: no name and no address tells it as surely."""
    key = secrets.randbits(63)
    with own.transaction():
        own.execute(_HOLD, (key,))
        is_free = pooled.execute(_IS_FREE, (key,)).fetchone()
    if is_free == (True,):
        raise DatabasesDiffer(
            "database_url and database_session_url lead to different databases: a lock held over the one is free over "
            "the other.\nName the same database of the same primary in both, the first through the pooler."
        )


def _lends_two(first: PooledConnection, second: PooledConnection) -> bool:
    """Whether one has a session while another is in a transaction."""
    with first.transaction():
        # By hand, since what waits in a pooler's queue is ended by no time-out of the server.
        second.pgconn.send_query(b"SELECT 1")
        second.pgconn.flush()
        answered, _, _ = select.select([second.fileno()], [], [], LEND_SECONDS)
    second.close()
    return bool(answered)
