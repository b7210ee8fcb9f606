"""What a slice of chosen users keeps of their sources' events: what is said of them, and of others the numbers."""

from collections.abc import Iterator

import pytest

from ledger.domain import source
from ledger.domain.event_types import SourceEvent
from ledger.domain.events import BodyRejected, ItemRejected
from ledger.domain.nodes import OpenRun
from ledger.domain.reconciliation_events import PollObserved, RunStarted
from ledger.domain.source import SourceState
from ledger.slices.cutting import cut, cut_state
from tests.support.slices import eventful

EVERYBODY = frozenset({"alice", "bob", "carol", "dora"})


def of_source() -> Iterator[SourceEvent]:
    for kept in eventful().kept:
        if kept.uid is None:
            assert isinstance(kept.event, SourceEvent)
            yield kept.event


def test_a_poll_tells_of_the_chosen_alone() -> None:
    polls = [event for event in of_source() if isinstance(event, PollObserved)]
    assert any(len(poll.rows) > 1 and len(poll.findings) > 1 for poll in polls)
    for poll in polls:
        for uid in poll.rows:
            found = cut(poll, {uid})
            assert isinstance(found, PollObserved)
            assert found.rows == {uid: poll.rows[uid]}
            assert found.findings == tuple(finding for finding in poll.findings if finding.uid == uid)
            assert (found.asked, found.agreed, found.head) == (poll.asked, poll.agreed, poll.head)
        assert cut(poll, {"nobody"}) is None


def test_what_was_rejected_is_left_out() -> None:
    kinds = {type(event) for event in of_source() if cut(event, EVERYBODY) is None}
    assert kinds == {ItemRejected, BodyRejected}


def test_what_names_no_others_stays_the_same() -> None:
    for event in of_source():
        assert cut(event, EVERYBODY) in (event, None)
        assert cut(event, EVERYBODY) is event or isinstance(event, ItemRejected | BodyRejected)


@pytest.mark.parametrize(("users", "left"), [({"alice", "bob"}, ("alice",)), ({"bob"}, ())])
def test_a_run_keeps_the_number_of_those_whom_it_named(users: set[str], left: tuple[str, ...]) -> None:
    named = RunStarted(run="r", at=1, instance="i", scope="manual", users=2, uids=("alice", "carol"))
    found = cut(named, users)
    assert isinstance(found, RunStarted)
    assert (found.run, found.users, found.uids) == ("r", 2, left)
    runs = source.evolve_source(SourceState("main"), found, 1).open_runs
    assert [run.uids for run in runs.values()] == [left] * bool(left)


def test_runs_under_way_that_named_others_alone_are_not_of_everybody() -> None:
    runs = {
        "both": OpenRun(1, "manual", None, ("alice", "carol")),
        "others": OpenRun(1, "manual", None, ("carol",)),
        "everybody": OpenRun(1, "manual"),
    }
    state = source.as_imported(SourceState("main", open_runs=runs))
    assert cut_state(state, {"alice"}).open_runs == {
        "both": OpenRun(1, "manual", None, ("alice",)),
        "everybody": OpenRun(1, "manual"),
    }
    assert cut(state, {"alice", "carol"}) is state
