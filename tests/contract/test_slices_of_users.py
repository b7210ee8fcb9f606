"""Slices of chosen users: nobody else is named in them, and what they tell of the chosen is what the ledger tells."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from random import Random

import pytest

from bench import _same
from ledger.domain.events import WebhookObserved
from ledger.domain.reconciliation_events import Corrected, PollObserved, RunStarted, Swept
from ledger.replay.comparison import count_verdicts
from ledger.slices.form import Slice
from ledger.slices.importing import import_slice
from ledger.slices.reading import SliceFile
from ledger.slices.taking import SliceScope, open_slice
from ledger.store.ledger import Ledger
from tests.support import pg
from tests.support.ledgers import opened
from tests.support.slices import MAPPER, event_of, eventful, replayed, slice_of, written

UIDS = ("alice", "bob", "carol", "dora")


@pytest.fixture(scope="module")
def ledger(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """One with events of nearly every kind, which its projections have followed."""
    with opened(module_database_url) as found:
        bring(found, slice_of(eventful().kept), tmp_path_factory.mktemp("slices") / "whole")
        _same.project(module_database_url)
        yield found


def bring(ledger: Ledger, found: Slice, path: Path) -> None:
    import_slice(ledger, SliceFile(written(found, path)), {}, lambda *_: None)


def take(ledger: Ledger, *users: str, since: datetime | None = None) -> Slice:
    wanted = SliceScope(users or None, since)
    with ledger.connection() as connection, open_slice(connection, MAPPER, wanted, lambda *_: None) as found:
        return Slice(found.header, list(found.lines))


def middle(ledger: Ledger) -> datetime:
    return list(take(ledger).lines)[20].recorded_at


def named(poll: PollObserved) -> set[str]:
    return {*poll.rows, *(finding.uid for finding in poll.findings)}


@pytest.mark.parametrize("users", [*((uid,) for uid in UIDS), ("alice", "dora")])
def test_nobody_else_is_named(ledger: Ledger, users: tuple[str, ...]) -> None:
    chosen, polls = set(users), []
    for line in take(ledger, *users).lines:
        match event_of(line):
            case PollObserved() as poll:
                assert named(poll) <= chosen
                polls.append(poll.poll)
            case RunStarted(uids=uids):
                assert set(uids) <= chosen
            case _:
                assert line.stream == "source:main" or line.stream.removeprefix("user:") in chosen
    everything = [event_of(line) for line in take(ledger).lines]
    assert polls == [e.poll for e in everything if isinstance(e, PollObserved) and named(e) & chosen]


@pytest.mark.parametrize("uid", UIDS)
@pytest.mark.parametrize("from_the_middle", [False, True])
def test_a_replay_comes_to_the_same_verdicts(ledger: Ledger, uid: str, *, from_the_middle: bool) -> None:
    since = middle(ledger) if from_the_middle else None
    of_all, of_one = replayed(take(ledger, since=since)), replayed(take(ledger, uid, since=since))
    assert (of_one.differing, of_one.not_repeatable.total()) == (0, 0)
    own: Counter[str] = Counter()
    for line in take(ledger, uid, since=since).lines:
        event = event_of(line)
        if isinstance(event, WebhookObserved | Corrected | Swept):
            own.update(count_verdicts(event))
    assert of_one.recorded == of_one.replayed == own
    whole, cut = of_all.side_by_side.users[uid], of_one.side_by_side.users[uid]
    assert of_one.side_by_side.users.keys() == {uid}
    assert (cut.recorded, cut.replayed) == (whole.recorded, whole.replayed)


@pytest.mark.parametrize("uid", UIDS)
def test_an_import_explains_the_same(
    ledger: Ledger, module_database_url: str, uid: str, server: str, tmp_path: Path
) -> None:
    with pg.new_database(server) as url, opened(url) as other:
        bring(other, take(ledger, uid), tmp_path / uid)
        _same.project(url)
        found = _same.explanations(url, module_database_url, None, 100, Random(1))
    assert found.things > 0
    assert (found.others, found.first) == (0, "")
