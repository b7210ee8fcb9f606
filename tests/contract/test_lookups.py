"""The look-ups of statements: PostgreSQL puts each into the statement that calls it, so that none costs a call."""

import pytest
from psycopg import Connection, sql
from psycopg.rows import TupleRow

LOOKUPS = {
    "last_event": "",
    "last_sealed": "",
    "last_event_from": "asked.number",
    "next_event": "asked.number",
    "event_of_delivery": "asked.name",
    "end_of_run": "asked.name, asked.number",
    "first_event_of": "asked.name",
    "last_event_of": "asked.name, asked.number",
    "events_after": "asked.name, asked.number, 9, 50",
    "bounds_after": "asked.name, asked.number, 9, 50",
    "first_version_beyond": "asked.name, asked.number",
    "snapshot_before": "asked.name, asked.number",
    "snapshot_at": "asked.name, asked.number",
    "snapshot_after": "asked.name, asked.number",
}


@pytest.fixture(scope="module")
def plain(module_database_url: str, request: pytest.FixtureRequest) -> str:
    if request.config.getoption("--citus"):
        pytest.skip("on a cluster each is a query of its own")
    return module_database_url


def test_each_is_put_into_the_statement(plain: str) -> None:
    with Connection[TupleRow].connect(plain) as connection:
        for name, arguments in LOOKUPS.items():
            statement = sql.SQL(
                "EXPLAIN SELECT * FROM unnest(ARRAY['a'], ARRAY[1::bigint]) AS asked (name, number)"
                " LEFT JOIN LATERAL {}({}) AS found ON true"
            ).format(sql.Identifier(name), sql.SQL(arguments))
            plan = [line for (line,) in connection.execute(statement)]
            assert not any(f"Function Scan on {name}" in line for line in plan), plan
