"""Replaying a slice, or whatever else gives states and the events after them in the order of their positions."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from ledger.domain.events import Configured
from ledger.domain.evidence import Placed
from ledger.domain.imported import SourceImported
from ledger.domain.instants import from_datetime
from ledger.domain.observation import Instant
from ledger.domain.policy import Policy
from ledger.replay.judging import Judge
from ledger.replay.placed import judged_together, placed
from ledger.replay.replayed import Replayed
from ledger.replay.shown import SideBySide
from ledger.slices.form import LedgerLine, Slice, SliceHeader, StateLine
from ledger.slices.share import WHOLE, Share
from ledger.store.mapper import EventMapper

REMEMBERED_EVENTS = 100_000
"""Without stories, they are forgotten after so many."""

Change = Callable[[Policy], Policy]
"""The policy to be tried in place of one on record."""


class Trial(NamedTuple):
    """How a replay is to judge."""

    change: Change
    until: Instant | None = None
    with_stories: bool = True


def replay_slice(slice_: Slice, mapper: EventMapper, trial: Trial) -> Replayed:
    """Judge a slice again. Raises what reading it raises."""
    lines = iter(slice_.lines)
    after: list[LedgerLine] = []

    def before() -> Iterator[Placed]:
        for line in lines:
            if not isinstance(line, StateLine):
                after.append(line)
                return
            yield placed(line, mapper)

    return replay_events(slice_.header, before(), (placed(line, mapper) for line in chain(after, lines)), trial)


def replay_events(
    header: SliceHeader, states: Iterable[Placed], events: Iterable[Placed], trial: Trial, share: Share = WHOLE
) -> Replayed:
    """Judge events again after states, of a share of the users and of all sources. Raises what the iterators raise."""
    judge = Judge(trial.change, share)
    side_by_side = SideBySide(judge.recorded, judge.replayed)
    changed = _changed(header.policies.values(), trial.change)
    replayed = Replayed(header, changed, share, trial.with_stories)
    replayed.ended_at = 0 if header.began.recorded_at is None else from_datetime(header.began.recorded_at)
    side_by_side.moved(_begin(states, judge, replayed), replayed.ended_at)
    remembered = 0
    for together in judged_together(_up_to(events, trial.until)):
        at = together[0]
        if remembered >= REMEMBERED_EVENTS and not trial.with_stories and at.recorded_at > replayed.ended_at:
            side_by_side.forget(replayed.ended_at)
            remembered = 0
        remembered += 1
        side_by_side.let_pass(at.recorded_at)
        _note_rules(at, replayed)
        outcome = judge.step(together)
        replayed.take(together, outcome)
        side_by_side.moved(outcome.uids, at.recorded_at, everybody=outcome.everybody)
        replayed.ended_at = at.recorded_at
    replayed.ended_at = max(replayed.ended_at, _end(header, trial.until))
    replayed.side_by_side = side_by_side.end(replayed.ended_at)
    return replayed


def _begin(states: Iterable[Placed], judge: Judge, replayed: Replayed) -> list[str]:
    """Take the states in -> the users who have one"""
    users: list[str] = []
    for state in states:
        _note_rules(state, replayed)
        judge.begin(state)
        if state.uid:
            users.append(state.uid)
    return users


def _up_to(events: Iterable[Placed], until: Instant | None) -> Iterator[Placed]:
    for each in events:
        if until is not None and each.recorded_at > until:
            return
        yield each


def _note_rules(at: Placed, replayed: Replayed) -> None:
    if isinstance(at.event, Configured | SourceImported):
        replayed.rules.add(at.event.rules_version)


def _end(header: SliceHeader, until: Instant | None) -> Instant:
    """The last instant that the slice speaks of."""
    bounds = [from_datetime(at) for at in (header.until, header.head.recorded_at) if at is not None]
    return min([*bounds, *([] if until is None else [until])], default=0)


def _changed(policies: Iterable[Policy], change: Callable[[Policy], Policy]) -> dict[str, float]:
    """The numbers that are others than on record, of any source."""
    pairs = [(policy, change(policy)) for policy in policies]
    return {
        name: getattr(tried, name)
        for name in Policy.__struct_fields__
        for policy, tried in pairs
        if getattr(tried, name) != getattr(policy, name)
    }
