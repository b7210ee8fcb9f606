"""Any single change of any column of any row of a sealed ledger is found, unless its author holds the key."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from psycopg import sql

from tests.support import pg
from tests.support.tampering import fill, found, unguarded

COMMITS, SIZE = 3, 2
EVENTS = COMMITS * SIZE
CELLS = {"events": ["stream", "version", "position", "kind", "payload", "recorded_at"]}
CELLS["seals"] = ["first_position", "last_position", "recorded_at", "key_id", "digests", "seal"]

positions = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "stream": texts,
    "kind": texts,
    "version": positions,
    "position": positions | st.integers(0, EVENTS + 1),
    "first_position": positions | st.integers(0, EVENTS + 1),
    "last_position": positions | st.integers(0, EVENTS + 1),
    "recorded_at": st.sampled_from(["infinity", "-infinity"]) | st.datetimes().map(lambda at: f"{at.isoformat()}Z"),
    "payload": st.binary(max_size=64),
    "key_id": st.binary(max_size=9),
    "digests": st.binary(max_size=96),
    "seal": st.binary(max_size=33),
}
ORDER = {"events": "position", "seals": "first_position"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with pg.new_database(pg.server_url("embedded")) as url:
        fill(url, range(1, COMMITS + 1), SIZE)
        with psycopg.connect(url) as connection:
            # Whoever wants an event to be anywhere at all makes room for it.
            connection.execute("CREATE TABLE anywhere PARTITION OF events DEFAULT")
        yield url


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, int, str, Any]:
    """A table, the number of a row of it, a column and a new value; None flips one bit of what is there."""
    table = draw(st.sampled_from(sorted(CELLS)))
    row = draw(st.integers(0, (EVENTS if table == "events" else COMMITS) - 1))
    column = draw(st.sampled_from(CELLS[table]))
    flips = column in {"payload", "key_id", "digests", "seal"}
    return table, row, column, draw(VALUES[column] | st.none() if flips else VALUES[column])


def _change(connection: psycopg.Connection[Any], table: str, row: int, column: str, value: Any, bit: int) -> int:
    """Make it; returns the first position of the row as it was."""
    name, order, of = sql.Identifier(column), sql.Identifier(table, ORDER[table]), sql.Identifier(table)
    select = sql.SQL("SELECT {0} AS place, {1} AS old FROM {2} ORDER BY {0} OFFSET %s LIMIT 1").format(order, name, of)
    (found_row,) = connection.execute(select, (row,)).fetchall()
    place, old = found_row
    new = _flipped(old, bit) if value is None else value
    update = sql.SQL("UPDATE {0} SET {1} = %s WHERE {2} = %s AND {1} IS DISTINCT FROM %s").format(of, name, order)
    assume(connection.execute(update, (new, place, new)).rowcount)
    position: int = place
    return position


def _flipped(old: bytes, bit: int) -> bytes:
    changed = bytearray(old)
    changed[bit // 8 % len(old)] ^= 1 << bit % 8
    return bytes(changed)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes(), st.integers(0, 10_000))
def test_any_change_is_found(url: str, change: tuple[str, int, str, Any], bit: int) -> None:
    table, row, column, value = change
    with unguarded(url) as connection:
        try:
            place = _change(connection, table, row, column, value, bit)
        except (psycopg.errors.UniqueViolation, psycopg.errors.DatetimeFieldOverflow):
            assume(False)
        altered = found(connection).altered
    assert altered is not None
    if table == "events" and column != "position":
        assert altered.position == place
    elif table == "events":
        assert altered.position <= place
    elif column not in ORDER.values():
        assert altered.position == place
