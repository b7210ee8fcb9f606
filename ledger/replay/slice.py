"""Replaying a slice: every verdict on record next to what the rules say now, and what that changes of what is shown."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from ledger.domain.event_types import UserEvent
from ledger.domain.events import Configured
from ledger.domain.evidence import Placed
from ledger.domain.imported import SourceImported
from ledger.domain.instants import from_datetime, to_text
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import RULES_VERSION, Policy
from ledger.replay.comparison import Comparison, count_verdicts
from ledger.replay.judging import Judge, Outcome
from ledger.replay.placed import judged_together, placed
from ledger.replay.shown import SideBySide, Transition
from ledger.slices.form import LedgerLine, Slice, SliceHeader, StateLine
from ledger.store.mapper import EventMapper

SHOWN_VERDICTS = 100
"""Differing verdicts that are kept one by one."""

NOT_JUDGED_AGAIN = frozenset(
    {
        "dark_seconds",
        "tier_vip_seconds",
        "tier_normal_seconds",
        "tier_cold_seconds",
        "breaker_share",
        "breaker_minimum",
        "breaker_seconds",
        "breaker_hold_seconds",
        "budget_calls",
        "budget_users",
    }
)
"""Numbers that decide when and of whom is asked, and whether a source or a query API is believed: what they led to is
evidence here, taken as it was recorded."""


@dataclass
class Replayed:
    """What a replay came to."""

    header: SliceHeader
    changed: dict[str, float]
    """The policy's numbers that are others than on record."""
    side_by_side: SideBySide
    events: int = 0
    repeated: int = 0
    """Verdicts that came out as they were recorded."""
    recorded: Counter[str] = field(default_factory=Counter)
    replayed: Counter[str] = field(default_factory=Counter)
    differing: int = 0
    examples: list[Comparison] = field(default_factory=list)
    not_repeatable: Counter[str] = field(default_factory=Counter)
    rules: set[int] = field(default_factory=set)
    """The versions that judged what is on record."""
    ended_at: Instant = 0
    touched: set[str] = field(default_factory=set)
    """Users with events."""

    def take(self, outcome: Outcome) -> None:
        """Count what one event came to."""
        self.touched.update(outcome.uids)
        for judged in outcome.judged:
            for counter, said in ((self.recorded, judged.recorded), (self.replayed, judged.replayed)):
                for each in said:
                    if isinstance(each, UserEvent):
                        counter.update(count_verdicts(each))
            if judged.why_not is not None:
                self.not_repeatable[judged.why_not] += 1
            elif judged.is_repeated:
                self.repeated += 1
            else:
                self.differing += 1
                if len(self.examples) < SHOWN_VERDICTS:
                    self.examples.append(judged)

    def as_dict(self) -> dict[str, Any]:
        """As `replay --json` prints it."""
        pairs = self.side_by_side.users
        return {
            "users": {
                uid: {
                    "recorded": _texts(pair.recorded),
                    "replayed": _texts(pair.replayed),
                    "differing_seconds": pair.differing / SECOND,
                }
                for uid, pair in sorted(pairs.items())
                if uid in self.touched or not pair.same or len(pair.recorded) > 1
            },
            "verdicts": {
                "recorded": dict(sorted(self.recorded.items())),
                "replayed": dict(sorted(self.replayed.items())),
            },
            "judged": {
                "reproduced": self.repeated,
                "differing": self.differing,
                "not_repeatable": dict(sorted(self.not_repeatable.items())),
            },
            "differing_verdicts": [each.as_dict() for each in self.examples],
            "differing_users": sum(not pair.same for pair in pairs.values()),
            "differing_seconds": self.side_by_side.differing_seconds,
            "policy": self.changed,
            "not_judged_again": sorted(self.changed.keys() & NOT_JUDGED_AGAIN),
            "rules": {"recorded": sorted(self.rules), "replayed": RULES_VERSION},
            "events": self.events,
            "until": to_text(self.ended_at),
        }


def replay_slice(
    slice_: Slice, mapper: EventMapper, change: Callable[[Policy], Policy], until: Instant | None = None
) -> Replayed:
    """Judge a slice again, up to an instant. Raises what reading it raises.

    `change` gives the policy to be tried in place of one on record.
    """
    judge = Judge(change)
    side_by_side = SideBySide(judge.recorded, judge.replayed)
    replayed = Replayed(slice_.header, _changed(slice_.header.policies.values(), change), side_by_side)
    lines = iter(slice_.lines)
    began_at = 0 if slice_.header.began.recorded_at is None else from_datetime(slice_.header.began.recorded_at)
    known, first = _begin(lines, mapper, judge, replayed)
    side_by_side.moved(known, began_at)
    replayed.ended_at = began_at
    rest = chain(() if first is None else (first,), lines)
    for together in judged_together(_events(rest, mapper, until)):
        at = together[0]
        side_by_side.let_pass(at.recorded_at)
        replayed.events += len(together)
        _note_rules(at, replayed)
        outcome = judge.step(together)
        replayed.take(outcome)
        side_by_side.moved(outcome.uids, at.recorded_at, everybody=outcome.everybody)
        replayed.ended_at = at.recorded_at
    replayed.ended_at = max(replayed.ended_at, _end(slice_.header, until))
    side_by_side.end(replayed.ended_at)
    return replayed


def _begin(
    lines: Iterator[LedgerLine], mapper: EventMapper, judge: Judge, replayed: Replayed
) -> tuple[list[str], LedgerLine | None]:
    """Take the states in -> (the users who have one, the first line that is an event)"""
    users: list[str] = []
    for line in lines:
        if not isinstance(line, StateLine):
            return users, line
        state = placed(line, mapper)
        _note_rules(state, replayed)
        judge.begin(state)
        if state.uid:
            users.append(state.uid)
    return users, None


def _events(lines: Iterable[LedgerLine], mapper: EventMapper, until: Instant | None) -> Iterator[Placed]:
    for line in lines:
        each = placed(line, mapper)
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


def _texts(transitions: list[Transition]) -> list[tuple[str, str]]:
    return [(to_text(at), status) for at, status in transitions]
