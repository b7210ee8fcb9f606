"""Overrides: an operator's word is put on record, ended by hand, and its end by time is noted."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ledger.domain.observation import SECOND, Instant
from ledger.domain.override import ended_by_somebody, ended_by_time
from ledger.domain.override_events import OverrideSet, Word
from ledger.errors import LedgerError
from ledger.ingest.append import append
from ledger.ingest.draft import Draft
from ledger.store.ledger import Ledger
from ledger.store.mapper import Recorded
from projections.models import current

MAX_ENDED = 1_000
"""Ends that are put on record in one commit."""


class NeverObserved(LedgerError):
    """There is no status of this user that could be overridden."""


class NoOverride(LedgerError):
    """No operator's word about this user holds."""


class OverrideOrder(NamedTuple):
    """What an operator says of a user, and for how long; `by` is the API key's name."""

    status: Word
    reason: str
    by: str
    seconds: float
    until_evidence: bool


class Put(NamedTuple):
    """A word that is on record now, and the position of its event."""

    event: OverrideSet
    position: int


def put(ledger: Ledger, uid: str, order: OverrideOrder, at: Instant) -> Put:
    """Record an operator's word, over the one before. Raises NeverObserved, StoreUnavailable."""

    def events(draft: Draft) -> Iterator[Recorded]:
        presence = draft.presence(uid)
        if presence.flip is None:
            raise NeverObserved(f"the user {uid!r} was never observed")
        status = presence.status
        if (word := presence.override) is not None:
            yield draft.append_to_user(uid, ended_by_somebody(word, at, "replaced", order.by, status))
        said = OverrideSet(
            received_at=at,
            status=order.status,
            reason=order.reason,
            by=order.by,
            expires_at=at + round(order.seconds * SECOND),
            status_before=status,
            status_after=status,
            until_evidence=order.until_evidence,
        )
        yield draft.append_to_user(uid, said)

    position, event = append(ledger, {}, (uid,), events).events[-1]
    assert isinstance(event, OverrideSet)
    return Put(event, position)


def end(ledger: Ledger, uid: str, by: str, at: Instant) -> int:
    """Record that somebody has ended it -> the event's position. Raises NoOverride, StoreUnavailable."""

    def events(draft: Draft) -> Iterator[Recorded]:
        presence = draft.presence(uid)
        word = presence.override
        if word is None or not word.holds(at):
            raise NoOverride(f"no override of the user {uid!r} holds")
        yield draft.append_to_user(uid, ended_by_somebody(word, at, "deleted", by, presence.status))

    return append(ledger, {}, (uid,), events).events[-1][0]


def end_those_over(ledger: Ledger, now: Callable[[], Instant]) -> int:
    """Put on record which ones time has ended -> how many. What is shown did not wait for it.

    Raises StoreUnavailable.
    """
    with ledger.connection() as connection:
        uids = current.over(connection, now(), MAX_ENDED)
    if not uids:
        return 0

    def events(draft: Draft) -> Iterator[Recorded]:
        for uid in uids:
            presence = draft.presence(uid)
            word = presence.override
            # Another one may have been said, or its end been recorded, since this was read.
            if word is not None and not word.holds(now()):
                yield draft.append_to_user(uid, ended_by_time(word, presence.status))

    return len(append(ledger, {}, uids, events).events)
