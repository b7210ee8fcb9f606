"""Drifts counted: in groups, between instants, page by page, with how long they lasted."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow

from ledger.domain.observation import SECOND
from projections import drift_summary
from projections.drift_summary import By, Page, Wanted
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


def page(url: str, *by: By, after: Sequence[str] | None = None, limit: int = 100, **bounds: datetime) -> Page:
    wanted = Wanted(by, bounds.get("since"), bounds.get("until"), after, limit)

    async def ask() -> Page:
        async with await AsyncConnection.connect(url, autocommit=True) as connection:
            return await drift_summary.page(connection, wanted, T + 2 * HOUR * SECOND)

    return asyncio.run(ask())


def counts(found: Page, *by: By) -> dict[Any, tuple[int, int]]:
    return {tuple(item[name] for name in by): (item["open"], item["closed"]) for item in found.items}


@pg.on_every_server
@pytest.mark.usefixtures("connection")
def test_open_and_closed_with_their_seconds(database_url: str) -> None:
    unknown, gap, restart = page(database_url, "attributed_to").items
    assert gap == {
        "attributed_to": "gap",
        "open": 0,
        "closed": 2,
        "seconds": {"at_least": 30.0, "at_most": 35.0},
        "never_agreed": 1,
    }
    assert (unknown["attributed_to"], unknown["open"], unknown["closed"]) == (None, 1, 0)
    assert restart["seconds"] == {"at_least": float(HOUR), "at_most": 2.0 * HOUR}


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


def test_none_of_none(database_url: str) -> None:
    assert page(database_url, "kind") == Page([], (), 0)
