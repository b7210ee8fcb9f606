"""When alerts begin and end: a condition has to hold for a while, and not to hold for a while; in between it stays.

Durations are of a clock that only goes forward, so that a machine's clock that is set begins and ends nothing.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ledger.alerts.condition import HOLDS, NOT, Condition, Key, NotKnown
from ledger.alerts.thresholds import Thresholds
from ledger.domain.alert_events import Figures
from ledger.domain.observation import Instant


class Began(NamedTuple):
    """An alert begins."""

    key: Key
    at: Instant
    since: Instant
    figures: Figures


class Ended(NamedTuple):
    """An alert ends; its figures are the last ones of the time when its condition held."""

    key: Key
    at: Instant
    since: Instant
    figures: Figures


Step = Began | Ended


@dataclass
class _Tracked:
    is_on: bool
    figures: Figures = field(default_factory=dict)
    holds_since: float | None = None
    held_at: Instant = 0
    gone_since: float | None = None
    gone_at: Instant = 0


class Tracking:
    """What is on, and what may soon be."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._tracked: dict[Key, _Tracked] = {}

    def take_over(self, on: Iterable[tuple[Key, Figures]]) -> None:
        """Go on from what another instance, or this one before it was restarted, has begun and not ended."""
        began = {key: _Tracked(is_on=True, figures=figures) for key, figures in on}
        waiting = {key: each for key, each in self._tracked.items() if not each.is_on and key not in began}
        self._tracked = waiting | began

    def figures(self) -> dict[Key, Figures]:
        """Of what is on, the last figures of the time when its condition held."""
        return {key: each.figures for key, each in self._tracked.items() if each.is_on}

    def step(
        self, conditions: Iterable[Condition], unknown: Collection[NotKnown], at: Instant, seconds: float
    ) -> list[Step]:
        """What begins and ends at an instant."""
        found = {each.key: each for each in conditions}
        steps: list[Step] = []
        for key in dict.fromkeys((*found, *self._tracked)):
            condition = found.get(key) or Condition(key, NOT)
            tracked = self._tracked.setdefault(key, _Tracked(is_on=False))
            level = condition.level
            if level is not None and level >= HOLDS:
                steps += self._holding(tracked, condition, at, seconds)
            elif level is None or key.name in unknown or (key.name, key.source) in unknown:
                tracked.holds_since = tracked.gone_since = None
            elif tracked.is_on:
                steps += self._leaving(tracked, key, level, at, seconds)
            else:
                tracked.holds_since = None
            if not tracked.is_on and tracked.holds_since is None:
                del self._tracked[key]
        return steps

    def _holding(self, tracked: _Tracked, condition: Condition, at: Instant, seconds: float) -> list[Step]:
        key = condition.key
        tracked.figures, tracked.gone_since = dict(condition.figures), None
        if tracked.holds_since is None:
            tracked.holds_since, tracked.held_at = seconds, at
        if tracked.is_on or seconds - tracked.holds_since < self._thresholds.of(key.name, "for_seconds"):
            return []
        tracked.is_on = True
        since = tracked.held_at if condition.since is None else min(condition.since, at)
        return [Began(key, at, since, tracked.figures)]

    def _leaving(self, tracked: _Tracked, key: Key, level: float, at: Instant, seconds: float) -> list[Step]:
        tracked.holds_since = None
        if level >= self._thresholds.clear_share:
            tracked.gone_since = None
            return []
        if tracked.gone_since is None:
            tracked.gone_since, tracked.gone_at = seconds, at
        if seconds - tracked.gone_since < self._thresholds.clear_seconds:
            return []
        tracked.is_on = False
        return [Ended(key, at, tracked.gone_at, tracked.figures)]
