"""How each node's query API fares, as the leading instance last knew it; the one place that knows the table."""

from collections.abc import Mapping
from typing import Any

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

_WRITE = """
INSERT INTO node_health (source, node, health) VALUES (%s, %s, %s)
    ON CONFLICT (source, node) DO UPDATE SET health = excluded.health
"""


def write(cursor: Cursor[Any], source: str, healths: Mapping[str, Mapping[str, Any]]) -> None:
    """Note what is known of a source's nodes; JSON-ready values."""
    cursor.executemany(_WRITE, [(source, node, Jsonb(dict(health))) for node, health in healths.items()])


def of_source(connection: Connection[TupleRow], source: str) -> dict[str, dict[str, Any]]:
    """The nodes' health, by name."""
    rows = connection.execute("SELECT node, health FROM node_health WHERE source = %s", (source,)).fetchall()
    return dict(rows)


def of_all(connection: Connection[TupleRow]) -> dict[str, dict[str, dict[str, Any]]]:
    """The nodes' health by source and name."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for source, node, health in connection.execute("SELECT source, node, health FROM node_health").fetchall():
        found.setdefault(source, {})[node] = health
    return found
