"""Whether webhooks have stopped, of a source or of one of its nodes: looks found what one of them must have told, and
none has come since.
"""

import math
from typing import NamedTuple

from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciliation_events import Finding

SILENT_USERS = 2
"""So many users' changes went untold: a single one may have been in a batch that its sender dropped."""

SILENT_SECONDS = 60.0
"""A webhook is on its way for two seconds, and under retry for longer: the first of them came to light so long ago."""

MAX_UNTOLD_USERS = 10_000
"""So many are kept apart: when a whole ledger goes untold, more of them say nothing more."""

RHYTHM_MOMENTS = 10_000
MIN_HEARD, MIN_MISSED = 20, 30
MAX_SHARE = 0.9
"""Moments are not drawn by lot: a node that posted in each of the last ones may miss a few."""
IMPOSSIBLE = 1e-6


class Listening(NamedTuple):
    """Since when webhooks would have reached us."""

    began_at: Instant
    """What changed before that went untold, or to another instance."""
    listed_at: Instant
    """Everybody had been looked at by then: a user first found later has come since `began_at`."""
    heard_at: Instant | None
    """The last webhook. What changed before it may have been lost alone."""


def must_have_told(finding: Finding, listening: Listening) -> bool:
    """Whether a webhook must have told, after the last one that came, what a look has corrected.

    Not of a node that is down, nor of what its boot ended, nor what its version never tells; and a user who is online
    all the same may have changed devices without a word in v3.
    """
    if finding.outcome != "corrected" or finding.drift == "devices":
        return False
    if finding.attributed_to in ("node", "restart", "upstream_defect"):
        return False
    began_at = listening.began_at if listening.heard_at is None else max(listening.began_at, listening.heard_at)
    if finding.agreed_at is not None:
        return finding.agreed_at >= began_at
    return finding.disagreed_at >= max(began_at, listening.listed_at)


class UntoldUsers:
    """Users whose changes went untold since the last webhook, and when the first of them was found."""

    def __init__(self) -> None:
        self._users: set[str] = set()
        self.since: Instant | None = None

    def __len__(self) -> int:
        """MAX_UNTOLD_USERS stands for as many or more."""
        return len(self._users)

    def note(self, uid: str, at: Instant) -> None:
        """A look found it at that instant; the first one counts for a user."""
        if uid not in self._users and len(self._users) < MAX_UNTOLD_USERS:
            self._users.add(uid)
            self.since = at if self.since is None else min(self.since, at)

    def clear(self) -> None:
        """A webhook has come."""
        self._users.clear()
        self.since = None

    def are_silence(self, now: Instant) -> bool:
        """Whether webhooks have stopped."""
        if self.since is None or len(self._users) < SILENT_USERS:
            return False
        return now - self.since >= round(SILENT_SECONDS * SECOND)


class NodeRhythm:
    """How often a node posts among the moments in which any of its source does, since its last boot.

    One that has never posted often enough says nothing by its silence: in a cluster of v2 the node that leads a user's
    slot posts, and after a boot that may be another one.
    """

    def __init__(self) -> None:
        self._boot: object = None
        self._moments = 0
        self._heard = 0
        self._missed = 0

    def note(self, boot: object, *, posted: bool) -> None:
        """A moment in which some node posted."""
        if boot != self._boot:
            self.__init__()  # type: ignore[misc]
            self._boot = boot
        self._moments += 1
        self._heard += posted
        self._missed = 0 if posted else self._missed + 1
        if self._moments > RHYTHM_MOMENTS and posted:
            # What was long ago weighs less and less.
            self._moments, self._heard = self._moments // 2, self._heard // 2

    @property
    def has_stopped(self) -> bool:
        """Whether it is next to impossible that a node which goes on as before has been missed so often in a row."""
        if self._heard < MIN_HEARD or self._missed < MIN_MISSED:
            return False
        share = min(self._heard / (self._moments - self._missed), MAX_SHARE)
        return self._missed * math.log1p(-share) < math.log(IMPOSSIBLE)
