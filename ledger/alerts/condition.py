"""A condition of an alert at an instant: how far a figure is beyond its threshold, and on what that rests."""

from collections.abc import Mapping
from typing import NamedTuple

from ledger.domain.alert_events import SERVICE, Figures
from ledger.domain.observation import Instant


class Key(NamedTuple):
    """Which incident: there is one alert for each."""

    name: str
    source: str = SERVICE
    subject: str = ""
    incident: str = ""
    """Tells two of one subject apart, such as two boots of a node."""


NO_FIGURES: Figures = {}


class Condition(NamedTuple):
    """`level` is a figure's share of its threshold: at 1 it holds."""

    key: Key
    level: float
    figures: Mapping[str, str | int | float] = NO_FIGURES
    since: Instant | None = None
    """When it began, where the figures say so."""


HOLDS = 1.0
NOT = 0.0


def share_of(value: float, threshold: float) -> float:
    """A figure's share of its threshold; of a threshold of 0 whatever is more than nothing is twice as much."""
    if threshold > 0:
        return value / threshold
    return 2 * HOLDS if value > 0 else NOT
