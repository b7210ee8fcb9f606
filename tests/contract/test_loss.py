"""Transitions told and lost, as the projection counts them and as they are asked for."""

from collections import Counter
from typing import Any

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.event_types import UserEvent
from ledger.domain.observation import SECOND
from ledger.domain.untold import Untold, UserTransitions
from ledger.store.ledger import Ledger
from projections.engine.projector import Projector
from projections.models.loss import BUCKET_SECONDS
from projections.models.registry import FOLLOWING
from projections.queries import loss
from tests.support import pg
from tests.support.following import follow_all
from tests.support.lived import lived, pour

HOUR = 3600 * SECOND
T = 1_800_000_000 * SECOND

_UNTOLD = "INSERT INTO untold VALUES (%s, %s, %s, %s, 'n1', '', %s, %s, %s, %s)"
_BLIND = """
INSERT INTO blind_times (source, position, node, kind, since, until, reason, listed_at, others)
VALUES (%s, %s, '', %s, %s, %s, '', %s, '')
"""


def told(
    connection: Connection[TupleRow], seconds: int, number: int, by: str = "webhook", source: str = "main"
) -> None:
    at = T + seconds * SECOND
    connection.execute("INSERT INTO transitions VALUES (%s, %s, 'n1', %s, %s)", (source, at, by, number))


def untold(
    connection: Connection[TupleRow], seconds: int, learnt_by: str = "gap", after: int | None = 0, **fields: Any
) -> None:
    """One that came to light so many seconds after T, and had not taken place `after` so many."""
    row = connection.execute("SELECT count(*) FROM untold").fetchone()
    assert row is not None
    since = None if after is None else T + after * SECOND
    source, state = fields.get("source", "main"), fields.get("state", "final")
    connection.execute(_UNTOLD, ("u", row[0] + 1, "offline", source, learnt_by, since, T + seconds * SECOND, state))


def blind(
    connection: Connection[TupleRow],
    kind: str,
    since: int,
    until: int | None,
    source: str = "main",
    listed: int | None = None,
) -> None:
    instants = [None if each is None else T + each * SECOND for each in (since, until, listed)]
    connection.execute(_BLIND, (source, since + 1000, kind, *instants))


def counted(connection: Connection[TupleRow], **wanted: Any) -> Counter[str]:
    """All of an hour, by how they were learnt."""
    total: Counter[str] = Counter()
    for cell in loss.by_node_and_hour(connection, T, T + HOUR, **wanted):
        total.update(cell.counts.by)
    return total


@pytest.mark.parametrize("seed", [1, 3])
@pg.on_every_server
def test_what_is_counted_is_what_the_rules_say_of_each_user(
    ledger: Ledger, connection: Connection[TupleRow], seed: int
) -> None:
    kept = lived(seed, 300).ledger.kept
    pour(ledger, kept)
    follow_all(connection, Projector({"loss": FOLLOWING["loss"]}, batch_events=7))
    users: dict[str, UserTransitions] = {}
    for each in kept:
        if isinstance(each.event, UserEvent) and each.uid is not None:
            users.setdefault(each.uid, UserTransitions(each.uid)).take(each.event, each.position)
    expected = {(uid, *each) for uid, user in users.items() for each in user.changed.values()}
    columns = ", ".join(Untold._fields)
    rows = connection.execute(f"SELECT uid, {columns} FROM untold".encode()).fetchall()
    assert set(rows) == expected
    assert len(rows) == len(expected) > 5
    assert {row[-1] for row in rows} >= {"open", "final"}
    numbers: Counter[str] = Counter()
    for by, at, number in connection.execute("SELECT by, at, number FROM transitions").fetchall():
        numbers[by] += number
        assert at % (BUCKET_SECONDS * SECOND) == 0
    assert numbers == Counter(each.by for user in users.values() for each in user.told)


def test_nodes_and_hours_are_counted_apart(connection: Connection[TupleRow]) -> None:
    told(connection, 0, 5)
    told(connection, 10, 1, "restart")
    told(connection, 3600, 7)
    untold(connection, 30)
    untold(connection, 40, state="supposed")
    untold(connection, 3630, "late_offline")
    first, second = loss.by_node_and_hour(connection, T, T + 2 * HOUR)
    assert (first.source, first.node, first.hour) == ("main", "n1", T)
    assert first.counts.by == {"webhook": 5, "restart": 1, "gap": 1}
    assert (first.counts.told, first.counts.lost, first.counts.transitions) == (5, 1, 6)
    assert second.counts.share == pytest.approx(1 / 8)
    assert loss.by_node_and_hour(connection, T + HOUR, T + 2 * HOUR) == [second]
    assert loss.by_node_and_hour(connection, T, T + 2 * HOUR, "elsewhere") == []


def test_a_share_of_nothing_is_not_known(connection: Connection[TupleRow]) -> None:
    nothing = loss.LossCount(Counter(restart=3))
    assert (nothing.share, nothing.transitions, nothing.interval) == (None, 0, (0.0, 1.0))


@pytest.mark.parametrize("kind", ["service_stopped", "source_dark", "store_unavailable"])
def test_what_may_lie_in_a_time_in_which_nobody_could_know_is_no_loss(
    connection: Connection[TupleRow], kind: str
) -> None:
    blind(connection, kind, 100, 200, "(service)" if kind == "store_unavailable" else "main")
    untold(connection, 90)
    untold(connection, 150, after=120)
    untold(connection, 250, after=190)
    untold(connection, 250, after=210)
    untold(connection, 250, after=190, source="other")
    assert counted(connection, source="main") == {"gap": 2, "blind": 2}


def test_one_that_goes_on_reaches_until_now(connection: Connection[TupleRow]) -> None:
    blind(connection, "source_dark", 100, None)
    blind(connection, "node_down", 0, None, "other")
    untold(connection, 250, after=50)
    untold(connection, 250, after=240)
    untold(connection, 90, after=50)
    untold(connection, 90, after=50, source="other")
    assert counted(connection) == {"gap": 2, "blind": 2}


@pytest.mark.parametrize(("listed", "until"), [(300, 300), (None, 3600), (9000, 3600)])
def test_who_was_not_known_before_we_had_looked_at_everybody_is_no_loss(
    connection: Connection[TupleRow], listed: int | None, until: int
) -> None:
    blind(connection, "before_record", -1_000, 0, listed=listed)
    untold(connection, until - 10, "late_offline", None)
    untold(connection, until - 10, "gap", 0)
    untold(connection, until + 10, "late_offline", None)
    cells = loss.by_node_and_hour(connection, T, T + 2 * HOUR)
    assert sum((cell.counts.by for cell in cells), Counter()) == {"blind": 1, "gap": 1, "late_offline": 1}


def test_windows_hold_what_came_to_light_within_them(connection: Connection[TupleRow]) -> None:
    now = T + 2 * HOUR
    told(connection, 0, 100)
    told(connection, 7190, 3)
    untold(connection, 3000)
    untold(connection, 7195)
    untold(connection, 7195, source="other")
    found = loss.in_windows(connection, now, [60, 7200.0, 5])
    assert {seconds: (count.told, count.lost) for seconds, count in found["main"].items()} == {
        60: (3, 1), 7200.0: (103, 2), 5: (3, 1),
    }  # fmt: skip
    assert found["other"][60].by == {"gap": 1}
    assert loss.in_windows(connection, now, [60], ["elsewhere"]) == {}
    assert loss.in_windows(connection, now, [60, 7200.0, 5], ["main", "other"]) == found
    assert loss.in_windows(connection, now, [60], ["main"]).keys() == {"main"}
    assert loss.in_windows(connection, now, []) == {}


def test_windows_of_named_sources_are_found_by_index(connection: Connection[TupleRow]) -> None:
    """However long the ledger is, only what is within the windows is read, and blind times once."""
    connection.execute("SET enable_seqscan = off")
    params = loss._params(T, T + HOUR, ["main"])
    rows = connection.execute("EXPLAIN " + loss._counts(loss._HOURS, ["main"]), params).fetchall()
    plan = [line for (line,) in rows]
    assert sum("Index Cond" in line and "source = ANY" in line for line in plan) == 2, plan
    assert sum("on blind_times" in line for line in plan) == 1, plan


def test_it_is_as_of_where_both_projections_are(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    pour(ledger, lived(3, 20).ledger.kept)
    follow_all(connection, Projector({"loss": FOLLOWING["loss"]}))
    assert loss.position(connection) == 0
    follow_all(connection, Projector({"blind": FOLLOWING["blind"]}))
    assert loss.position(connection) == lived(3, 20).ledger.kept[-1].position
