"""A slice without the users' names: whatever may hold a uid is replaced; counts, order, connIds and instants stay."""

import base64
from collections.abc import Iterator
from typing import assert_never

import msgspec

from ledger.domain.alert_events import AlertAcknowledged, AlertBegan, AlertEnded, AlertEvent
from ledger.domain.archive_events import EventsArchived
from ledger.domain.erasure_events import UserErased
from ledger.domain.event_types import Event, SourceEvent, UserEvent
from ledger.domain.events import (
    BodyRejected,
    Configured,
    DeliveryReceived,
    ItemRejected,
    ServiceStarted,
    ServiceStopped,
    WebhookObserved,
)
from ledger.domain.imported import PresenceImported, SourceImported
from ledger.domain.nodes import OpenRun
from ledger.domain.observation import Claim, parse_item
from ledger.domain.override_events import OverrideEnded, OverrideSet
from ledger.domain.reconciliation_events import (
    BreakerClosed,
    BreakerOpened,
    Corrected,
    Finding,
    NodeBooted,
    NodeDown,
    NodeSettled,
    PollObserved,
    RunEnded,
    RunStarted,
    SourceDark,
    SourceLit,
    Swept,
    TierSet,
)
from ledger.slices.form import LedgerLine, Slice
from ledger.slices.pseudonyms import Pseudonyms
from ledger.store.mapper import USER_PREFIX, EventMapper, user_stream

_replace = msgspec.structs.replace


def pseudonymised(slice_: Slice, names: Pseudonyms, mapper: EventMapper) -> Slice:
    """The same slice of users whose names only the key's holder knows. Its lines raise UnreadableEvent."""
    users = slice_.header.users
    header = _replace(
        slice_.header, pseudonymised=True, users=None if users is None else tuple(names.pseudonym(uid) for uid in users)
    )
    return Slice(header, _lines(slice_, names, mapper))


def _lines(slice_: Slice, names: Pseudonyms, mapper: EventMapper) -> Iterator[LedgerLine]:
    for line in slice_.lines:
        event = renamed(mapper.event_at(line.position, line.event_kind, bytes(line.payload)), names)
        kind, payload = mapper.kind_and_payload(event)
        stream = line.stream
        if stream.startswith(USER_PREFIX):
            stream = user_stream(names.pseudonym(stream.removeprefix(USER_PREFIX)))
        yield _replace(line, stream=stream, event_kind=kind, payload=msgspec.Raw(payload))


def renamed(event: Event, names: Pseudonyms) -> Event:
    """An event as it would be if its users had these names."""
    return _rename_user_event(event, names) if isinstance(event, UserEvent) else _rename_source_event(event, names)


def _rename_user_event(event: UserEvent, names: Pseudonyms) -> UserEvent:
    match event:
        case WebhookObserved():
            return _replace(event, raw=_item(event.raw, names))
        case TierSet():
            return _replace(event, by=names.redacted(event.by))
        case OverrideSet():
            return _replace(event, by=names.redacted(event.by), reason=names.redacted(event.reason))
        case OverrideEnded():
            return _replace(event, by=None if event.by is None else names.redacted(event.by))
        case PresenceImported():
            return _replace(event, presence=_replace(event.presence, uid=names.pseudonym(event.presence.uid)))
        case Corrected() | Swept():
            return event
        case _:
            assert_never(event)


def _rename_source_event(event: SourceEvent, names: Pseudonyms) -> SourceEvent:
    match event:
        case DeliveryReceived():
            return _replace(event, digest=names.digest(event.digest))
        case ItemRejected():
            digest = None if event.digest is None else names.digest(event.digest)
            following = tuple(names.redacted(raw) for raw in event.following)
            return _replace(event, raw=names.redacted(event.raw), digest=digest, following=following)
        case BodyRejected():
            body = base64.b64encode(names.redacted(event.raw_base64).encode()).decode()
            return _replace(event, raw_base64=body, digest=names.digest(event.digest))
        case PollObserved():
            findings = tuple(_finding(finding, names) for finding in event.findings)
            return _replace(
                event, findings=findings, rows={names.pseudonym(uid): row for uid, row in event.rows.items()}
            )
        case RunStarted():
            return _replace(event, uids=tuple(names.pseudonym(uid) for uid in event.uids))
        case RunEnded():
            return _replace(event, failures={node: names.redacted(why) for node, why in event.failures.items()})
        case NodeDown():
            return _replace(event, reason=names.redacted(event.reason))
        case SourceImported():
            return _imported(event, names)
        case AlertBegan() | AlertAcknowledged() | AlertEnded():
            return _rename_alert(event, names)
        case UserErased():
            # Of another ledger, whose positions mean nothing here; a slice has none of the service's own events.
            return _replace(event, by=names.redacted(event.by), reason=names.redacted(event.reason))
        case (
            Configured() | ServiceStarted() | ServiceStopped() | NodeBooted() | NodeSettled() | SourceDark()
            | SourceLit() | BreakerOpened() | BreakerClosed() | EventsArchived()
        ):  # fmt: skip
            return event
        case _:
            assert_never(event)


def _item(raw: str, names: Pseudonyms) -> str:
    """The item with its uid replaced, the numbers as they were written."""
    claim = parse_item(raw)
    if not isinstance(claim, Claim):
        # An older version took for an item what this one does not.
        return names.redacted(raw)
    return names.pseudonym(claim.uid) + raw[len(claim.uid) :]


def _finding(finding: Finding, names: Pseudonyms) -> Finding:
    return _replace(finding, uid=names.pseudonym(finding.uid))


def _rename_alert(event: AlertEvent, names: Pseudonyms) -> AlertEvent:
    """What a server answered may hold uids; instants and numbers do not."""
    if isinstance(event, AlertAcknowledged):
        return _replace(event, by=names.redacted(event.by))
    figures = {
        name: names.redacted(value) if isinstance(value, str) and not name.endswith("_at") else value
        for name, value in event.figures.items()
    }
    return _replace(event, figures=figures)


def _imported(event: SourceImported, names: Pseudonyms) -> SourceImported:
    runs = {name: _open_run(run, names) for name, run in event.open_runs.items()}
    recent = tuple(body._replace(digest=names.digest(body.digest)) for body in event.recent)
    return _replace(event, open_runs=runs, recent=recent)


def _open_run(run: OpenRun, names: Pseudonyms) -> OpenRun:
    return _replace(run, uids=tuple(names.pseudonym(uid) for uid in run.uids))
