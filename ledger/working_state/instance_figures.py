"""What each instance alone knows, for the one that evaluates alerts: the one place that knows the table."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from ledger.domain.observation import SECOND, Instant

NOTED_SECONDS = 30.0
"""What an instance noted longer ago says nothing of now: it has ended, or cannot write."""
KEPT_SECONDS = 86_400.0
"""An instance that was killed leaves its row."""

_WRITE = """
INSERT INTO instance_figures (instance, noted_at, figures) VALUES (%s, %s, %s)
    ON CONFLICT (instance) DO UPDATE SET noted_at = excluded.noted_at, figures = excluded.figures
"""
_FORGET = "DELETE FROM instance_figures WHERE instance = %s OR noted_at < %s"
_SPOOLING = """
SELECT figures ->> 'host', figures ->> 'folder', noted_at FROM instance_figures
 WHERE (figures ->> 'spooled')::bigint > 0 ORDER BY noted_at, instance
"""
_READ = "SELECT instance, figures FROM instance_figures WHERE noted_at >= %s"


class Spooling(NamedTuple):
    """An instance in whose spool webhooks waited when it was heard of last; `folder`: its data folder."""

    host: str
    folder: str
    noted_at: Instant


def write(connection: Connection[TupleRow], instance: str, figures: Mapping[str, Any], now: Instant) -> None:
    """Note what an instance knows; JSON-ready values."""
    connection.execute(_WRITE, (instance, now, Jsonb(dict(figures))))


def read(connection: Connection[TupleRow], since: Instant) -> dict[str, dict[str, Any]]:
    """What each has noted since then, by instance."""
    return dict(connection.execute(_READ, (since,)).fetchall())


def spooling(connection: Connection[TupleRow]) -> list[Spooling]:
    """Instances in whose spools webhooks waited when they noted something last, be they gone since; oldest first."""
    return [Spooling(*row) for row in connection.execute(_SPOOLING)]


def forget(connection: Connection[TupleRow], instance: str, now: Instant) -> None:
    """The instance ends; those that were killed long ago go, too."""
    connection.execute(_FORGET, (instance, now - round(KEPT_SECONDS * SECOND)))
