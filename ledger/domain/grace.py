"""The grace period in a user's state: a user who is online again within it continues the online period before.

By whatever evidence: a webhook, or a look that found what a lost webhook would have told.
"""

from ledger.domain.events import Status
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import Policy
from ledger.domain.presence import Cause, Flip, Presence


def resumes(presence: Presence, status_after: Status, at: Instant, policy: Policy) -> Instant | None:
    """Since when a user who is online again within the grace period has been shown online."""
    flip, before = presence.flip, presence.before
    if status_after != "online" or flip is None or flip.status != "offline" or before is None:
        return None
    return before.since if at - flip.since < round(policy.grace_seconds * SECOND) else None


def flipped(
    presence: Presence, status: Status, cause: Cause, resumed: Instant | None
) -> tuple[Flip | None, Flip | None]:
    """-> (the status by evidence, the online period before it that grace may still show)"""
    flip, before = presence.flip, presence.before
    if flip is not None and flip.status == status:
        return flip, before
    if resumed is not None and before is not None:
        return before, None
    return Flip(status, cause.at, cause), flip if flip is not None and flip.status == "online" else None
