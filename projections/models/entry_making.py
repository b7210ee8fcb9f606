"""The entry that the timeline has of an event, by kind of event."""

from collections.abc import Mapping
from typing import Any, Literal

from ledger.domain.event_types import UserEvent
from ledger.domain.events import SessionId, WebhookObserved
from ledger.domain.imported import PresenceImported
from ledger.domain.instants import optional, to_text
from ledger.domain.override_events import OverrideEnded, OverrideSet
from ledger.domain.presence import session_ids
from ledger.domain.reconciliation_events import Corrected, Located, OpenedSession, Swept, TierSet
from projections.models.entries import (
    BeginningEntry,
    ChangeEntry,
    CorrectionEntry,
    Entry,
    OverrideEndEntry,
    OverrideEntry,
    SessionName,
    SweepEntry,
    TierEntry,
)


def entry_for(position: int, event: UserEvent) -> Entry:
    """The entry of one event."""
    if isinstance(event, WebhookObserved):
        return _changed(position, event)
    entry: Entry = _MAKE[type(event)](position, event)
    return entry


def _changed(position: int, event: WebhookObserved) -> ChangeEntry:
    kind: Literal["transition", "sessions"] = "sessions" if event.status_before == event.status_after else "transition"
    at = to_text(event.received_at)
    named = event.named or event.placed
    swept = tuple([_name(session) for session in event.swept]) if event.swept else ()
    resumes = optional(event.resumes)
    # By place, at a quarter of the cost of keywords: each is called like its field, which a test compares.
    return ChangeEntry(
        kind,
        position,
        at,
        event.source,
        event.node,
        event.status_before,
        event.status_after,
        event.verdict,
        event.rule,
        event.device_flag,
        event.conn_id,
        event.delivery,
        event.item,
        event.raw,
        named,
        event.repeated,
        swept,
        event.implied,
        event.implied_elsewhere,
        event.withdrawn,
        event.withdrawn_elsewhere,
        resumes,
        event.suspect,
        event.unbelieved,
    )


def _correction(position: int, event: Corrected) -> CorrectionEntry:
    return CorrectionEntry(
        kind="correction",
        position=position,
        at=to_text(event.received_at),
        source=event.source,
        node=event.node,
        status_before=event.status_before,
        status_after=event.status_after,
        rule=event.rule,
        drift=event.drift,
        agreed_at=optional(event.agreed_at),
        disagreed_at=optional(event.disagreed_at),
        asked_at=to_text(event.asked_at),
        looks=event.looks,
        attributed_to=event.attributed_to,
        poll=event.poll,
        run=event.run,
        opened=tuple([_name(session) for session in event.opened]),
        closed=tuple([_name(session) for session in event.closed]),
        located=tuple([_name(located) for located in event.located]),
        resumes=optional(event.resumes),
    )


def _sweep(position: int, event: Swept) -> SweepEntry:
    return SweepEntry(
        kind="sweep",
        position=position,
        at=to_text(event.received_at),
        source=event.source,
        node=event.node,
        status_before=event.status_before,
        status_after=event.status_after,
        rule=event.rule,
        ended=tuple([_name(session) for session in event.ended]),
        earliest=optional(event.earliest),
        latest=optional(event.latest),
        evidence=event.evidence,
        run=event.run,
    )


def _tier(position: int, event: TierSet) -> TierEntry:
    at = to_text(event.received_at)
    return TierEntry(
        kind="tier",
        position=position,
        at=at,
        status_before=event.status_before,
        status_after=event.status_after,
        tier=event.tier,
        by=event.by,
    )


def _override(position: int, event: OverrideSet) -> OverrideEntry:
    return OverrideEntry(
        kind="override",
        position=position,
        at=to_text(event.received_at),
        status_before=event.status_before,
        status_after=event.status_after,
        status=event.status,
        reason=event.reason,
        by=event.by,
        expires_at=to_text(event.expires_at),
        until_evidence=event.until_evidence,
    )


def _override_ended(position: int, event: OverrideEnded) -> OverrideEndEntry:
    return OverrideEndEntry(
        kind="override_ended",
        position=position,
        at=to_text(event.received_at),
        status_before=event.status_before,
        status_after=event.status_after,
        status=event.status,
        why=event.why,
        by=event.by,
    )


def _beginning(position: int, event: PresenceImported) -> BeginningEntry:
    sessions = [_name(session) for device in event.presence.devices for session in session_ids(device)]
    at, version = to_text(event.received_at), event.presence.version
    return BeginningEntry(
        kind="imported",
        position=position,
        at=at,
        status_before=event.status_before,
        status_after=event.status_after,
        version=version,
        sessions=tuple(sessions),
    )


def _name(session: SessionId | OpenedSession | Located) -> SessionName:
    if isinstance(session, Located):
        named = session.session
        return SessionName(named.scope or None, named.device_flag, named.conn_id, session.held_by)
    held_by = session.held_by if isinstance(session, OpenedSession) else None
    return SessionName(session.scope or None, session.device_flag, session.conn_id, held_by)


_MAKE: Mapping[type[Any], Any] = {
    Corrected: _correction,
    Swept: _sweep,
    TierSet: _tier,
    OverrideSet: _override,
    OverrideEnded: _override_ended,
    PresenceImported: _beginning,
}
