"""Drifts counted: in groups, between instants, page by page, with how long they lasted."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow

from ledger.domain.instants import to_text
from ledger.domain.observation import SECOND
from projections.queries import drift_summary
from projections.queries.drift_summary import By, DriftSummaryPage, DriftSummaryQuery, SecondsBody
from tests.support import pg
from tests.support.following import connect

HOUR = 3600
T = 1_800_000_000 * SECOND
"""2027-01-15T08:00:00Z"""

_INSERT = "INSERT INTO drifts VALUES (%s, %s, %s, 'ghost', %s, %s, %s, %s, %s, 'r', %s, %s)"


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection[TupleRow]]:
    """Drifts of two sources: over after 10 s, after 20 s, still open, and of nobody knows why."""
    with connect(database_url) as connection:
        for position, (source, state, agreed, disagreed, ended, cause, node) in enumerate(
            [
                ("main", "corrected", 0, 5, 15, "gap", "n1"),
                ("main", "cleared", None, 5, 25, "gap", "n2"),
                ("main", "open", 0, HOUR, None, "restart", "n1"),
                ("other", "held", HOUR, HOUR + 5, None, None, "n1"),
            ],
            1,
        ):
            instants = [None if seconds is None else T + seconds * SECOND for seconds in (agreed, disagreed, ended)]
            connection.execute(_INSERT, (f"u{position}", source, position, state, *instants, cause, node, position))
        yield connection


def page(
    url: str, *by: By, after: Sequence[str] | None = None, limit: int = 100, **bounds: datetime
) -> DriftSummaryPage:
    wanted = DriftSummaryQuery(by, bounds.get("since"), bounds.get("until"), after, limit)

    async def ask() -> DriftSummaryPage:
        async with await AsyncConnection.connect(url, autocommit=True) as connection:
            return await drift_summary.page(connection, wanted, T + 2 * HOUR * SECOND)

    return asyncio.run(ask())


def counts(found: DriftSummaryPage, *by: By) -> dict[Any, tuple[int, int]]:
    return {tuple(getattr(item, name) for name in by): (item.open, item.closed) for item in found.items}


@pg.on_every_server
@pytest.mark.usefixtures("connection")
def test_open_and_closed_with_their_seconds(database_url: str) -> None:
    unknown, gap, restart = page(database_url, "attributed_to").items
    assert msgspec.to_builtins(gap) == {
        "attributed_to": "gap",
        "open": 0,
        "closed": 2,
        "seconds": {"at_least": 30.0, "at_most": 35.0},
        "never_agreed": 1,
    }
    assert (unknown.attributed_to, unknown.open, unknown.closed) == (None, 1, 0)
    assert restart.seconds == SecondsBody(float(HOUR), 2.0 * HOUR)


@pytest.mark.usefixtures("connection")
def test_by_one_or_several(database_url: str) -> None:
    assert counts(page(database_url, "source"), "source") == {("main",): (1, 2), ("other",): (1, 0)}
    assert counts(page(database_url, "node", "kind"), "node", "kind") == {
        ("n1", "ghost"): (2, 1),
        ("n2", "ghost"): (0, 1),
    }
    hours = counts(page(database_url, "hour"), "hour")
    assert hours == {("2027-01-15T08:00:00.000000Z",): (0, 2), ("2027-01-15T09:00:00.000000Z",): (2, 0)}
    assert set(counts(page(database_url, "state"), "state")) == {("corrected",), ("cleared",), ("open",), ("held",)}


@pytest.mark.usefixtures("connection")
def test_between_instants_and_page_by_page(database_url: str) -> None:
    nine = datetime(2027, 1, 15, 9, tzinfo=UTC)
    assert counts(page(database_url, "source", since=nine), "source") == {("main",): (1, 0), ("other",): (1, 0)}
    assert counts(page(database_url, "source", until=nine), "source") == {("main",): (0, 2)}
    everything, after, found = page(database_url, "attributed_to", "node").items, None, []
    while (one := page(database_url, "attributed_to", "node", after=after, limit=1)).items:
        found += one.items
        after = one.last
    assert found == everything
    assert len(found) == 4


def test_of_the_last_day_where_nobody_says_since_when_and_what_is_not_over(
    connection: Connection[TupleRow], database_url: str
) -> None:
    """`u9` was found two days before the others and is over, `u10` a day before `u9` and is not."""
    for uid, state, day in (("u9", "corrected", -2), ("u10", "open", -3)):
        disagreed_at = T + day * 24 * HOUR * SECOND
        ended_at = disagreed_at + SECOND if state == "corrected" else None
        connection.execute(_INSERT, (uid, "main", 9, state, None, disagreed_at, ended_at, "gap", "n1", 9))
    assert counts(page(database_url, "source"), "source") == {("main",): (2, 2), ("other",): (1, 0)}
    assert page(database_url, "source").since == T - 22 * HOUR * SECOND
    long_ago, day_before = datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 14, 8, tzinfo=UTC)
    assert counts(page(database_url, "source", since=long_ago), "source") == {("main",): (2, 3), ("other",): (1, 0)}
    before = page(database_url, "source", until=day_before)
    assert counts(before, "source") == {("main",): (1, 1)}
    assert before.since == T - 48 * HOUR * SECOND


def test_an_index_serves_the_last_day(database_url: str) -> None:
    with connect(database_url) as connection:
        connection.execute("SET enable_seqscan = off")
        query = drift_summary._COUNT.format(keys="kind", after="", drifts=drift_summary._BETWEEN_OR_UNFINISHED)
        params = {"now": T, "since": T, "until": T + SECOND, "limit": 9}
        plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {query}".encode(), params))
    assert {"drifts_disagreed", "drifts_unfinished"} <= set(plan.split()), plan


def test_the_first_day_there_is_has_none_before_it(database_url: str) -> None:
    first = datetime(1, 1, 1, 1, tzinfo=UTC)
    assert to_text(page(database_url, "kind", until=first).since) == "0001-01-01T00:00:00.000000Z"


def test_none_of_none(database_url: str) -> None:
    assert page(database_url, "kind") == DriftSummaryPage([], (), 0, T - 22 * HOUR * SECOND)
