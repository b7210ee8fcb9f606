"""Whether a sender's counts are those of its profile: a wrong one shows in what onlines and offlines say in turn."""

from collections import OrderedDict, deque
from typing import NamedTuple
from zlib import crc32

from ledger.domain.observation import Claim
from ledger.domain.profile import COUNTING, Profile

USERS = 10_000
"""Whose last counts are remembered; those heard longest ago go first."""

SIGNS = 200
"""So many of the last signs of a kind are weighed: an upgrade shows within them."""

TELLING, SHARE = 5, 0.8
"""A profile is wrong by so many signs at least, and this share of all of their kind: webhooks that are lost, delivered
twice or late, or that follow a node's crash give a few that are not true."""

SAMPLE = 16
"""One user in so many is heard where not everybody is."""


def in_sample(uid: str) -> bool:
    """Whether a user is heard where not everybody is: always the same ones, since only their next item makes a sign."""
    return crc32(uid.encode(errors="surrogatepass")) % SAMPLE == 0


class Mismatch(NamedTuple):
    """What the counts tell of a profile that is not theirs."""

    what: str
    against: int
    """Signs that speak against the profile, of … """
    signs: int
    likely: tuple[Profile, ...]
    """The profiles that nothing speaks against."""

    @property
    def words(self) -> str:
        """For people."""
        as_in = " or ".join(self.likely)
        return f"{self.what} ({self.against} of {self.signs} signs){as_in and f', as in {as_in}'}"


class _Last(NamedTuple):
    online: bool
    device_count: int
    total_count: int
    gap: int
    """After so many times that others than those of the sample were not heard."""


class CountsCheck:
    """What a sender's items tell of how it counts, item after item in the order of their receipt.

    An online and an offline in turn tell whether an online counts its own connection: v2.1 alone leaves it out. An
    offline that says 0 where two kinds of devices were online tells that offlines come for a user's last session alone,
    as in v3, and one that says more than 0 tells that they come for each; who connects again with the same device tells
    nothing, for its server may have taken the old connection's place in the count.
    """

    def __init__(self) -> None:
        self._last: OrderedDict[str, _Last] = OrderedDict()
        self._leaves_own_out: deque[bool] = deque(maxlen=SIGNS)
        self._last_alone: deque[bool] = deque(maxlen=SIGNS)
        self._gap = 0

    def miss_others(self) -> None:
        """Those of the sample alone are heard now: what others say next does not follow what they said last."""
        self._gap += 1

    def forget(self) -> None:
        """A node of the source went or booted: what comes next has nothing to do with what came before."""
        self._last = OrderedDict()

    def hear(self, claim: Claim) -> None:
        """Take an item in that does not repeat another one."""
        last = self._last
        before = last.pop(claim.uid, None)
        if before is not None and before.gap != self._gap and not in_sample(claim.uid):
            before = None
        last[claim.uid] = _Last(claim.online, claim.device_count, claim.total_count, self._gap)
        if len(last) > USERS:
            last.popitem(last=False)
        if claim.online:
            self._hear_online(before, claim.total_count)
        else:
            self._hear_offline(before, claim.total_count)

    def _hear_online(self, before: _Last | None, total: int) -> None:
        after_offline = None if before is None or before.online else before.total_count
        if total in (0, after_offline):
            self._leaves_own_out.append(True)
        elif after_offline is not None and total == after_offline + 1:
            self._leaves_own_out.append(False)

    def _hear_offline(self, before: _Last | None, total: int) -> None:
        if total > 0:
            self._last_alone.append(False)
        if before is None or not before.online:
            return
        if total == before.total_count:
            self._leaves_own_out.append(True)
        elif total == before.total_count - 1:
            self._leaves_own_out.append(False)
        elif total == 0 and before.device_count < before.total_count:
            self._last_alone.append(True)

    def mismatch(self, profile: Profile) -> Mismatch | None:
        """What speaks against this profile, if enough does."""
        counting = COUNTING[profile]
        if (found := _against(self._leaves_own_out, counting.online_counts_before)) is not None:
            what = "count" if counting.online_counts_before else "leave out"
            return Mismatch(f"onlines {what} their own connection", *found, self._likely())
        if (found := _against(self._last_alone, counting.node_local)) is not None:
            which = "each connection" if counting.node_local else "a user's last connection alone"
            return Mismatch(f"offlines come for {which}", *found, self._likely())
        return None

    @property
    def tells(self) -> bool:
        """Whether enough was heard to say that a profile is right."""
        return max(len(self._leaves_own_out), len(self._last_alone)) >= TELLING

    def _likely(self) -> tuple[Profile, ...]:
        return tuple(
            profile
            for profile, counting in COUNTING.items()
            if _against(self._leaves_own_out, counting.online_counts_before) is None
            and _against(self._last_alone, counting.node_local) is None
        )


def _against(signs: deque[bool], expected: bool) -> tuple[int, int] | None:
    """-> (signs that are not as expected, all of their kind), where they are enough to tell"""
    against = sum(sign != expected for sign in signs)
    return (against, len(signs)) if against >= max(TELLING, SHARE * len(signs)) else None
