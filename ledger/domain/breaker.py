"""The breaker: when too many online users are said to be offline at once, the query API is doubted, not the users.

Its time is seconds of a clock that only goes forward. Looks that confirm an earlier one are not counted,
since they are about the missing alone.
"""

import math
from collections import deque

from ledger.domain.policy import Policy

BUCKET_SECONDS = 0.25


class Breaker:
    """Counts of the last looks over `breaker_seconds`, in buckets of a quarter of a second."""

    def __init__(self) -> None:
        self._buckets: deque[tuple[int, int, int]] = deque()
        """(bucket, online users looked at, of them said to be offline), oldest first."""

    def note(self, now: float, looked: int, missing: int, policy: Policy) -> None:
        """Online users were looked at first, in turn or as suspects; `missing` of them were said to be offline."""
        bucket = _bucket(now)
        if self._buckets and self._buckets[-1][0] == bucket:
            _, before, missed = self._buckets.pop()
            looked, missing = looked + before, missing + missed
        self._buckets.append((bucket, looked, missing))
        while self._buckets[0][0] < _bucket(now - policy.breaker_seconds):
            self._buckets.popleft()

    def window(self, now: float, seconds: float) -> tuple[int, int]:
        """-> (looked at, missing) within the last so many seconds"""
        first = _bucket(now - seconds)
        recent = [(looked, missing) for bucket, looked, missing in self._buckets if bucket >= first]
        return sum(looked for looked, _ in recent), sum(missing for _, missing in recent)

    def trips(self, now: float, policy: Policy, doubted_for: float | None = None) -> tuple[int, int, float] | None:
        """-> (looked at, missing, seconds of the window) where they are too many, else None.

        In the window of the policy a lie that has just begun is still a small share. So the time that a second look
        takes is looked at, too, and the time since the users in question have been missing: of that, all is lie.
        No doubt younger than a second look corrects anything: a window of it would hold a part of one answer, and of
        a full scan that may be just those who left a moment ago, whose webhooks are still on their way.
        """
        windows = [policy.breaker_seconds, short_window(policy)]
        if doubted_for is not None and short_window(policy) < doubted_for < policy.breaker_seconds:
            windows.append(doubted_for)
        for seconds in windows:
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
        """Start counting from scratch, after the breaker has closed."""
        self._buckets.clear()


def short_window(policy: Policy) -> float:
    """Seconds from a first look to the correction that its second one makes."""
    return min(policy.breaker_seconds, policy.confirm_seconds)


def _bucket(seconds: float) -> int:
    return math.floor(seconds / BUCKET_SECONDS)
