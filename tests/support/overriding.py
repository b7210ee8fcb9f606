"""Events of overrides, made for a user as they are."""

from ledger.domain.observation import SECOND, Instant
from ledger.domain.override_events import OverrideEnded, OverrideSet, WhyEnded, Word
from ledger.domain.presence import Presence

REASON = "phone lost, ticket 4711"


def overriding(
    presence: Presence, status: Word, at: Instant, seconds: float = 60.0, until_evidence: bool = False
) -> OverrideSet:
    """An operator's word about a user."""
    return OverrideSet(
        received_at=at,
        status=status,
        reason=REASON,
        by="ops",
        expires_at=at + round(seconds * SECOND),
        status_before=presence.status,
        status_after=presence.status,
        until_evidence=until_evidence,
    )


def override_end(presence: Presence, status: Word, why: WhyEnded, at: Instant, by: str | None = None) -> OverrideEnded:
    """Its end."""
    before = after = presence.status
    return OverrideEnded(received_at=at, why=why, status=status, status_before=before, status_after=after, by=by)
