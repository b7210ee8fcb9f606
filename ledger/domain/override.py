"""An operator's word in a user's state: it is shown in place of the status by evidence, which goes on beneath it.

What is shown at an instant follows from the event that set it and from the evidence alone, never from when its end was
recorded. Sessions, and whatever is judged by them, are as if there were none.
"""

import msgspec
from msgspec.structs import replace

from ledger.domain.events import Status, WebhookObserved
from ledger.domain.observation import Instant
from ledger.domain.override_events import OverrideEnded, WhyEnded, Word
from ledger.domain.reconciliation_events import Corrected, Swept

MAX_OVERRIDE_SECONDS = 30 * 86_400
"""No word of an operator's is shown for longer without being said again."""


class Override(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A word that was said and has not been ended. It may be over, by time, before its end is on record."""

    status: Word
    since: Instant
    expires_at: Instant
    until_evidence: bool
    position: int
    """Of the event that set it."""

    def holds(self, at: Instant) -> bool:
        """Whether it is what is shown at an instant."""
        return at < self.expires_at


def after_evidence(override: Override | None, event: WebhookObserved | Corrected | Swept) -> Override | None:
    """What is left of a word after a webhook's item, a look or a sweep."""
    if override is None or not override.until_evidence or event.received_at <= override.since:
        return override
    return None if _tells(event) else override


def ended_by_time(word: Override, status: Status) -> OverrideEnded:
    """The event that puts on record that a word's time is over; `status` is that by evidence."""
    return _ended(word, word.expires_at, "expired", status)


def ended_by_evidence(word: Override, at: Instant, status: Status) -> OverrideEnded:
    """The same of one that gave way to evidence of an instant, unless its time had been over by then."""
    return _ended(word, at, "evidence", status) if word.holds(at) else ended_by_time(word, status)


def ended_by_somebody(word: Override, at: Instant, why: WhyEnded, by: str, status: Status) -> OverrideEnded:
    """The same of one that was deleted or replaced, unless its time had been over by then."""
    return replace(_ended(word, at, why, status), by=by) if word.holds(at) else ended_by_time(word, status)


def _ended(word: Override, at: Instant, why: WhyEnded, status: Status) -> OverrideEnded:
    return OverrideEnded(received_at=at, why=why, status=word.status, status_before=status, status_after=status)


def _tells(event: WebhookObserved | Corrected | Swept) -> bool:
    """Whether an event tells how the user is now: not one that repeats what is over, nor where a session is held."""
    match event:
        case Corrected():
            return bool(event.opened or event.closed or any(located.seen for located in event.located))
        case Swept():
            return True
    confirms = event.verdict == "duplicate" and event.online and not event.repeated
    return confirms or event.verdict in ("opened", "closed") or event.status_before != event.status_after
