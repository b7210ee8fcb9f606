"""The share of transitions that webhooks lost: how sure it is, what is left of its budget, how fast that burns.

Pure: counts in, figures out. The burn rates are those of the SRE workbook, table 5-8.
"""

from math import sqrt
from typing import NamedTuple

CONFIDENCE = 0.95
_Z = 1.959963984540054
"""Standard deviations on either side that hold so much of a normal distribution."""

BUDGET_DAYS = 30
"""A budget is what may be lost of so many days."""


class Interval(NamedTuple):
    """Where a share lies, with `CONFIDENCE`."""

    lower: float
    upper: float


NOTHING_KNOWN = Interval(0.0, 1.0)


class BurnWindows(NamedTuple):
    """How fast a budget may burn over a long window and, so that it is still burning, over a short one."""

    threshold: float
    """Times the budget."""
    long_seconds: int
    short_seconds: int


BURN_WINDOWS = (
    BurnWindows(14.4, 3_600, 300),
    BurnWindows(6.0, 21_600, 1_800),
    BurnWindows(1.0, 259_200, 21_600),
)


def wilson(lost: int, transitions: int) -> Interval:
    """The Wilson score interval of a share of which so many were counted: it holds for few, and for none lost, too."""
    if not transitions:
        return NOTHING_KNOWN
    share, squared = lost / transitions, _Z * _Z
    middle = share + squared / (2 * transitions)
    half = _Z * sqrt(share * (1 - share) / transitions + squared / (4 * transitions * transitions))
    scale = 1 + squared / transitions
    # What was counted is possible, whatever is lost to rounding.
    return Interval(
        max(0.0, (middle - half) / scale) if lost else 0.0,
        min(1.0, (middle + half) / scale) if lost < transitions else 1.0,
    )


def unseen_at_most(lost: int, transitions: int) -> float:
    """The share of transitions that may have left no trace, at most, beside those counted.

    Where two in a row are both lost and no look falls between them, nothing tells of either: two of all for each pair,
    and where each is lost by itself, the square of the share are pairs.
    """
    return 2 * (lost / transitions) ** 2 if transitions else 0.0


def interval(lost: int, transitions: int) -> Interval:
    """Where the true share lies: that of Wilson, and what no look could see."""
    lower, upper = wilson(lost, transitions)
    return Interval(lower, min(1.0, upper + unseen_at_most(lost, transitions)))


def burn_rate(lost: int, transitions: int, budget_share: float) -> float | None:
    """How many times faster than the budget allows; None where there was nothing to lose, or no budget."""
    return lost / transitions / budget_share if transitions and budget_share else None


def budget_left(lost: int, transitions: int, budget_share: float) -> float | None:
    """What is left of the budget: 1.0 where nothing was lost, below 0 where more was than it allows."""
    burnt = burn_rate(lost, transitions, budget_share)
    return None if burnt is None else 1.0 - burnt


def burns(windows: BurnWindows, long: float | None, short: float | None) -> bool:
    """Whether the budget burns too fast in both windows."""
    return long is not None and short is not None and min(long, short) > windows.threshold


def fits(windows: BurnWindows, look_seconds: float) -> bool:
    """Whether a loss comes to light within the short window: nobody is looked at sooner than that without need."""
    return windows.short_seconds >= 2 * look_seconds
