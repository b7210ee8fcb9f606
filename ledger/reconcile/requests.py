"""What people ask of reconciliation, through any instance: a run now, a user's tier. The leading one takes it up."""

import secrets
from collections.abc import Iterator, Sequence

from ledger.domain.observation import Instant
from ledger.domain.reconciliation_events import RunStarted, Tier, TierSet
from ledger.ingest.append import append
from ledger.ingest.draft import Draft
from ledger.store.ledger import Ledger
from ledger.store.mapper import Recorded


def new_run() -> str:
    """An id that no run had."""
    return f"r-{secrets.token_hex(8)}"


def new_poll() -> str:
    """An id that no poll had."""
    return f"p-{secrets.token_hex(8)}"


def request_run(ledger: Ledger, source: str, uids: Sequence[str], instance: str, at: Instant) -> str:
    """Record that a run over these users, or over everybody, was asked for -> its id.

    The instance that leads finds it in the source's state and makes it. Raises StoreUnavailable.
    """
    run = new_run()
    wanted = tuple(dict.fromkeys(uids))
    started = RunStarted(
        run=run, at=at, instance=instance, scope="manual", users=len(wanted) if wanted else None, uids=wanted
    )

    def events(draft: Draft) -> Iterator[Recorded]:
        yield draft.append_to_source(source, started)

    append(ledger, {source: None}, (), events)
    return run


def set_tier(ledger: Ledger, uid: str, tier: Tier | None, by: str, at: Instant) -> int:
    """Record a user's tier, or that the rules choose it again -> the event's position. Raises StoreUnavailable."""

    def events(draft: Draft) -> Iterator[Recorded]:
        status = draft.presence(uid).status
        yield draft.append_to_user(
            uid, TierSet(received_at=at, tier=tier, by=by, status_before=status, status_after=status)
        )

    return append(ledger, {}, (uid,), events).events[0][0]
