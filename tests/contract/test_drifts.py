"""The table of drifts: each from its first look to its end, filtered, page by page."""

from collections.abc import Iterator
from typing import Any

import pytest

from ledger.domain.observation import SECOND
from ledger.domain.reconciled import Finding, Outcome, PollObserved
from ledger.store.ledger import Ledger
from projections import drifts
from projections.drifts import Drift, DriftFilter
from tests.support import pg
from tests.support.ledgers import SOURCE, opened

T = 1_800_000_000 * SECOND
ANY = DriftFilter()


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with opened(database_url) as found:
        yield found


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


def write(ledger: Ledger, position: int, told: PollObserved, source: str = SOURCE) -> None:
    with ledger.events_recorder.commit() as commit:
        drifts.write(commit.cursor, source, position, told)


def found(ledger: Ledger, wanted: DriftFilter = ANY, after: tuple[int, str] = (0, ""), limit: int = 100) -> list[Drift]:
    with ledger.connection() as connection:
        return drifts.page(connection, wanted, after, limit)


@pg.on_every_server
def test_a_drift_is_one_row_from_its_first_look_to_its_end(ledger: Ledger) -> None:
    write(ledger, 10, poll(1, ghost("open", attributed_to="sender"), run="r1"))
    [drift] = found(ledger)
    assert (drift.state, drift.position, drift.last_position, drift.ended_at) == ("open", 10, 10, None)
    write(ledger, 20, poll(4, ghost("held"), run="r2", node="n2"))
    write(ledger, 30, poll(7, ghost("corrected"), run="r2"))
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


def test_what_was_told_before_never_replaces_what_was_told_later(ledger: Ledger) -> None:
    write(ledger, 30, poll(7, ghost("cleared")))
    write(ledger, 20, poll(4, ghost("open")))
    assert [(drift.state, drift.last_position) for drift in found(ledger)] == [("cleared", 30)]


def test_the_next_drift_of_a_user_ends_one_that_no_look_has_ended(ledger: Ledger) -> None:
    write(ledger, 10, poll(1, ghost("open"), ghost("held", "v")))
    write(ledger, 11, poll(1, ghost("open")), source="other")
    write(ledger, 20, poll(60, ghost("open", disagreed=60)))
    assert [(d.uid, d.source, d.state, d.ended_at) for d in found(ledger)] == [
        ("u", SOURCE, "cleared", T + 60 * SECOND),
        ("v", SOURCE, "held", None),
        ("u", "other", "open", None),
        ("u", SOURCE, "open", None),
    ]


def test_a_poll_without_findings_writes_nothing(ledger: Ledger) -> None:
    write(ledger, 10, poll(1))
    assert found(ledger) == []


@pg.on_every_server
def test_a_list_is_narrowed_and_pages_by_position_and_user(ledger: Ledger) -> None:
    first = [ghost("corrected", uid, attributed_to="gap") for uid in ("b", "a", "用户")]
    write(ledger, 10, poll(1, *first))
    missed = Finding("m", "missed", "corrected", None, T, "restart")
    write(ledger, 20, poll(2, missed, ghost("in_flight", "f"), node="n2"))
    write(ledger, 30, poll(3, ghost("open", "a")), source="other")

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


def test_it_is_shown_with_instants_as_text(ledger: Ledger) -> None:
    write(ledger, 10, poll(1, Finding("u", "missed", "open", None, T + 1)))
    [drift] = found(ledger)
    shown = drift.as_dict()
    assert (shown["agreed_at"], shown["disagreed_at"], shown["ended_at"]) == (None, "2027-01-15T08:00:00.000001Z", None)
    assert list(shown) == list(Drift._fields)
