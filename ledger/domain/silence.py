"""Whether webhooks have stopped: looks found what one of them must have told, and none has come since."""

from collections.abc import Mapping
from typing import NamedTuple

from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciliation_events import Finding

SILENT_USERS = 2
"""So many users' changes went untold: a single one may have been in a batch that its sender dropped."""

SILENT_SECONDS = 60.0
"""A webhook is on its way for two seconds, and under retry for longer: the first of them came to light so long ago."""


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


def are_silent(untold: Mapping[str, Instant], now: Instant) -> bool:
    """Whether webhooks have stopped, by the users whose changes went untold since the last one, and when that was
    found."""
    return len(untold) >= SILENT_USERS and now - min(untold.values()) >= round(SILENT_SECONDS * SECOND)
