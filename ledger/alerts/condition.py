"""A condition of an alert at an instant: how far a figure is beyond its threshold, and on what that rests."""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from ledger.domain.alert_events import SERVICE, Figures
from ledger.domain.observation import Instant


class Key(NamedTuple):
    """Which incident: there is one alert for each."""

    name: str
    source: str = SERVICE
    subject: str = ""
    incident: str = ""
    """Tells two of one subject apart, such as two boots of a node."""


NotKnown: TypeAlias = str | tuple[str, str]
"""The name of alerts, or with a source only its: of these it is not known whether they are over."""

NO_FIGURES: Figures = {}

HOLDS = 1.0
NOT = 0.0


class Condition(NamedTuple):
    """`level` is a figure's share of its threshold: at 1 it holds. None: too little is known to say so, or not."""

    key: Key
    level: float | None
    figures: Mapping[str, str | int | float] = NO_FIGURES
    since: Instant | None = None
    """When it began, where the figures say so."""

    @property
    def known_level(self) -> float:
        """The level; that of nothing where too little is known."""
        return NOT if self.level is None else self.level


def share_of(value: float, threshold: float) -> float:
    """A figure's share of its threshold; of a threshold of 0 whatever is more than nothing is twice as much."""
    if threshold > 0:
        return value / threshold
    return 2 * HOLDS if value > 0 else NOT
