"""The table of drifts: each from its first look to its end, filtered, page by page."""

from datetime import UTC, datetime
from random import Random
from typing import Any, get_args

import pytest

from ledger.domain.observation import SECOND
from ledger.domain.reconciliation_events import Finding, Outcome, PollObserved
from ledger.store.ledger import Ledger
from projections.engine.memory import Memory
from projections.engine.projection import Followed
from projections.models import drifts
from projections.models.drifts import Drift, DriftFilter
from tests.support import pg
from tests.support.ledgers import SOURCE

T = 1_800_000_000 * SECOND
ANY = DriftFilter()


def poll(at: int, *findings: Finding, node: str = "n1", run: str = "r") -> PollObserved:
    """A poll answered so many seconds after the start."""
    answered_at = T + at * SECOND
    return PollObserved(
        poll=f"p{at}",
        run=run,
        node=node,
        route="POST /user/onlinestatus",
        asked_at=answered_at - SECOND,
        answered_at=answered_at,
        head=0,
        asked=10,
        agreed=9,
        findings=findings,
    )


def ghost(outcome: Outcome, uid: str = "u", disagreed: int = 1, **fields: Any) -> Finding:
    """A drift that began after the start and before that second."""
    return Finding(uid, "ghost", outcome, T, T + disagreed * SECOND, **fields)


def told(position: int, event: PollObserved, source: str = SOURCE) -> Followed:
    """A poll's event at its place."""
    return Followed(position, f"source:{source}", position, datetime.now(UTC), event, None)


def write(ledger: Ledger, *polls: Followed) -> None:
    with ledger.connection() as connection, connection.transaction():
        drifts.PROJECTION.handle(connection.cursor(), polls, Memory())


def found(ledger: Ledger, wanted: DriftFilter = ANY, after: tuple[int, str] = (0, ""), limit: int = 100) -> list[Drift]:
    with ledger.connection() as connection:
        return drifts.page(connection, wanted, after, limit)


@pg.on_every_server
def test_a_drift_is_one_row_from_its_first_look_to_its_end(ledger: Ledger) -> None:
    write(ledger, told(10, poll(1, ghost("open", attributed_to="sender"), run="r1")))
    [drift] = found(ledger)
    assert (drift.state, drift.position, drift.last_position, drift.ended_at) == ("open", 10, 10, None)
    write(ledger, told(20, poll(4, ghost("held"), run="r2", node="n2")))
    write(ledger, told(30, poll(7, ghost("corrected"), run="r2")))
    assert found(ledger) == [
        Drift(
            uid="u",
            source=SOURCE,
            position=10,
            kind="ghost",
            state="corrected",
            agreed_at=T,
            disagreed_at=T + SECOND,
            ended_at=T + 7 * SECOND,
            attributed_to="sender",
            run="r2",
            node="n1",
            last_position=30,
        )
    ]


def random_polls(seed: int) -> list[Followed]:
    """Polls that say all there is to be said of a few users' drifts."""
    draw = Random(seed)
    polls = []
    for at in range(1, 40):
        findings = [
            ghost(draw.choice(get_args(Outcome)), uid, draw.randrange(max(1, at - 3), at + 1))
            for uid in draw.sample("abcd", draw.randrange(4))
        ]
        polls.append(told(10 * at, poll(at, *findings, run=f"r{at}"), draw.choice((SOURCE, "other"))))
    return polls


@pytest.mark.parametrize("seed", range(5))
def test_the_same_comes_of_the_same_polls_in_batches_of_any_size(ledger: Ledger, seed: int) -> None:
    polls = random_polls(seed)
    write(ledger, *polls)
    at_once = found(ledger)
    for size in (1, 3):
        with ledger.connection() as connection:
            connection.execute("TRUNCATE drifts")
        for start in range(0, len(polls), size):
            write(ledger, *polls[start : start + size])
        assert found(ledger) == at_once
    assert {drift.state for drift in at_once} == set(get_args(Outcome))


def test_the_next_drift_of_a_user_ends_one_that_no_look_has_ended(ledger: Ledger) -> None:
    write(ledger, told(10, poll(1, ghost("open"), ghost("held", "v"))))
    write(ledger, told(11, poll(1, ghost("open")), source="other"))
    write(ledger, told(20, poll(60, ghost("open", disagreed=60))))
    assert [(d.uid, d.source, d.state, d.ended_at) for d in found(ledger)] == [
        ("u", SOURCE, "cleared", T + 60 * SECOND),
        ("v", SOURCE, "held", None),
        ("u", "other", "open", None),
        ("u", SOURCE, "open", None),
    ]


def test_a_poll_without_findings_writes_nothing(ledger: Ledger) -> None:
    write(ledger, told(10, poll(1)))
    assert found(ledger) == []


@pg.on_every_server
def test_a_list_is_narrowed_and_pages_by_position_and_user(ledger: Ledger) -> None:
    first = [ghost("corrected", uid, attributed_to="gap") for uid in ("b", "a", "用户")]
    write(ledger, told(10, poll(1, *first)))
    missed = Finding("m", "missed", "corrected", None, T, "restart")
    write(ledger, told(20, poll(2, missed, ghost("in_flight", "f"), node="n2")))
    write(ledger, told(30, poll(3, ghost("open", "a")), source="other"))

    def uids(**wanted: str) -> list[str]:
        return [drift.uid for drift in found(ledger, DriftFilter(**wanted))]

    assert uids() == ["a", "b", "用户", "f", "m", "a"]
    assert uids(state="in_flight") == ["f"]
    assert uids(state="held") == []
    assert uids(kind="missed") == ["m"]
    assert uids(source="other") == uids(state="open") == ["a"]
    assert uids(node="n2") == ["f", "m"]
    assert uids(attributed_to="gap") == ["a", "b", "用户"]
    assert uids(uid="a", source=SOURCE) == ["a"]
    assert uids(uid="' OR true --") == []
    paged, after = list[str](), (0, "")
    while page := found(ledger, after=after, limit=2):
        paged += [drift.uid for drift in page]
        after = page[-1].position, page[-1].uid
    assert paged == uids()
