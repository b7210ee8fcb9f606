"""What a replay came to: verdicts on record next to what the rules say now, and what that changes of what is shown."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ledger.domain.event_types import UserEvent
from ledger.domain.evidence import Placed
from ledger.domain.instants import to_text
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import RULES_VERSION
from ledger.replay.comparison import Comparison, add_verdicts, in_order
from ledger.replay.judging import Outcome
from ledger.replay.shown import Stories, Transition
from ledger.slices.form import SliceHeader
from ledger.slices.share import WHOLE, Share

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
    """What a replay came to; of a share of the users it is what all shares add up to."""

    header: SliceHeader
    changed: dict[str, float]
    """The policy's numbers that are others than on record."""
    share: Share = WHOLE
    with_stories: bool = True
    """Without, memory does not grow with the time that is replayed: of each user remains for how long they differ."""
    side_by_side: Stories = field(default_factory=lambda: Stories({}))
    """At the end."""
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

    def take(self, together: Sequence[Placed], outcome: Outcome) -> None:
        """Count what an event came to, or a poll and its corrections; what is not of users in the first share alone."""
        first = self.share.is_first
        self.events += sum(first or bool(each.uid) for each in together)
        self.touched.update(outcome.uids)
        judged = [each for each in outcome.judged if first or each.uid is not None]
        # Of several, in an order that does not depend on who else is judged here.
        for each in judged if len(judged) <= 1 else sorted(judged, key=in_order):
            self._count(each)

    def _count(self, judged: Comparison) -> None:
        for counter, said in ((self.recorded, judged.recorded), (self.replayed, judged.replayed)):
            for each in said:
                if isinstance(each, UserEvent):
                    add_verdicts(counter, each)
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
            "users": self._stories() if self.with_stories else self._differing_seconds(),
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

    def _stories(self) -> dict[str, Any]:
        return {
            uid: {
                "recorded": _texts(pair.recorded),
                "replayed": _texts(pair.replayed),
                "differing_seconds": pair.differing / SECOND,
            }
            for uid, pair in sorted(self.side_by_side.users.items())
            if uid in self.touched or not pair.same or len(pair.recorded) > 1
        }

    def _differing_seconds(self) -> dict[str, Any]:
        pairs = sorted(self.side_by_side.users.items())
        return {uid: {"differing_seconds": pair.differing / SECOND} for uid, pair in pairs if not pair.same}


def add_up(parts: Sequence[Replayed]) -> Replayed:
    """What all shares of the users came to, in the order of the shares: the same as one replay of everybody."""
    whole = Replayed(parts[0].header, parts[0].changed, with_stories=parts[0].with_stories)
    for part in parts:
        whole.events += part.events
        whole.repeated += part.repeated
        whole.differing += part.differing
        whole.recorded.update(part.recorded)
        whole.replayed.update(part.replayed)
        whole.not_repeatable.update(part.not_repeatable)
        whole.rules |= part.rules
        whole.touched |= part.touched
        whole.ended_at = max(whole.ended_at, part.ended_at)
        whole.side_by_side.users.update(part.side_by_side.users)
    whole.examples = sorted((each for part in parts for each in part.examples), key=in_order)[:SHOWN_VERDICTS]
    return whole


def _texts(transitions: list[Transition]) -> list[tuple[str, str]]:
    return [(to_text(at), status) for at, status in transitions]
