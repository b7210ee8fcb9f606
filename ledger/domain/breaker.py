"""The breaker: when too many online users are said to be offline at once, the query API is doubted, not the users.

A value of its own time: seconds of a clock that only goes forward. Looks that confirm an earlier one are not counted,
since they are about the missing alone.
"""

import math
from collections import deque

from ledger.domain.policy import Policy

AWHILE_SECONDS = 2.0
"""The short window goes back so much further than the time between two looks."""


class Breaker:
    """Counts of the last looks, second by second, over `breaker_seconds`."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int, int]] = deque()
        """(second, online users looked at, of them said to be offline), oldest first."""

    def note(self, now: float, looked: int, missing: int, policy: Policy) -> None:
        """Online users were looked at for the first time in turn or as suspects, some of them said to be offline."""
        second = math.floor(now)
        if self._seconds and self._seconds[-1][0] == second:
            _, before, missed = self._seconds.pop()
            looked, missing = looked + before, missing + missed
        self._seconds.append((second, looked, missing))
        while self._seconds[0][0] < second - policy.breaker_seconds:
            self._seconds.popleft()

    def window(self, now: float, seconds: float) -> tuple[int, int]:
        """-> (looked at, missing) within the last so many seconds"""
        recent = [(looked, missing) for second, looked, missing in self._seconds if second >= now - seconds - 1]
        return sum(looked for looked, _ in recent), sum(missing for _, missing in recent)

    def trips(self, now: float, policy: Policy) -> tuple[int, int, float] | None:
        """-> (looked at, missing, seconds of the window) where they are too many, else None.

        Two windows: that of the policy, in which a lie that has just begun is still a small share, and the time that a
        correction needs for its second look.
        """
        for seconds in (policy.breaker_seconds, short_window(policy)):
            looked, missing = self.window(now, seconds)
            if missing >= policy.breaker_minimum and missing > policy.breaker_share * looked:
                return looked, missing, seconds
        return None

    def sample_wanted(self, now: float, policy: Policy) -> int:
        """How many more online users must be looked at together with a second look, so that a lie would be noticed."""
        if policy.breaker_share <= 0:
            return 0
        looked, _ = self.window(now, short_window(policy))
        return max(0, math.ceil(policy.breaker_minimum / policy.breaker_share) - looked)

    def reset(self) -> None:
        """Begin to count anew, after it was closed."""
        self._seconds.clear()


def short_window(policy: Policy) -> float:
    """Seconds from a first look to the correction that its second one makes."""
    return min(policy.breaker_seconds, policy.confirm_seconds + AWHILE_SECONDS)
