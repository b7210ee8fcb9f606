"""The two ways to one database: for what holds a session, and through a pooler for all that needs a transaction alone.

Looked at before the product relies on them: that they lead to the same database, and that the pooler lends a session
for as long as a transaction takes.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from ledger.store import preflight, session
from ledger.store.pooled import PooledConnection, Route
from ledger.store.pulse import PROBE_SECONDS
from ledger.store.unfit import DatabasesDiffer

_HOLD = "SELECT pg_advisory_xact_lock(%s)"
_IS_FREE = "SELECT pg_try_advisory_xact_lock(%s)"


def examine(pooled_url: str, session_url: str) -> Route:
    """Look at both -> how the pools go through the pooler, which will do. Nothing is written.

    Raises DatabaseUnfit, StoreUnavailable.
    """
    with _named(session_url), session.connect(session_url, "start") as own:
        route = Route(pooled_url, session.for_transactions(own))
        with _named(pooled_url), connect(route) as pooled:
            _expect_same_database(own, pooled)
            return route


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
def _named(url: str) -> Iterator[None]:
    """What cannot be reached is told by the setting that its URL is of."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise preflight.refusal(error, url) from error


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
