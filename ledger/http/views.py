"""A stored event as the API shows it."""

from typing import Any

import msgspec

from ledger.domain.alert_events import SERVICE
from ledger.domain.event_types import Event
from ledger.domain.events import SessionId
from ledger.domain.instants import from_datetime, to_text
from ledger.domain.reconciliation_events import Finding, Located, OpenedSession, RunCounts
from ledger.store.mapper import SOURCE_PREFIX, USER_PREFIX
from ledger.store.recorder import StoredRow

INSTANTS = frozenset({"at", "resumes", "since", "until", "earliest", "latest"})
"""The names of instants that do not end in `_at`."""


def event_view(row: StoredRow, event: Event) -> dict[str, Any]:
    """A stored event with its place; the fields are those of its kind, instants as text, defaults included."""
    place: dict[str, Any] = {"position": row.position}
    if row.stream.startswith(USER_PREFIX):
        place["uid"] = row.stream.removeprefix(USER_PREFIX)
    else:
        source = row.stream.removeprefix(SOURCE_PREFIX)
        place["source"] = None if source == SERVICE else source
    place["version"] = row.version
    place["kind"] = row.kind.partition(".")[0]
    place["recorded_at"] = to_text(from_datetime(row.recorded_at))
    fields = _fields(event)
    return place | {name: value for name, value in fields.items() if name not in place}


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    fields = msgspec.structs.asdict(struct)
    for name, value in fields.items():
        if isinstance(value, int):
            if name.endswith("_at") or name in INSTANTS:
                fields[name] = to_text(value)
        elif isinstance(value, tuple):
            fields[name] = [_part(each) for each in value]
        elif isinstance(value, RunCounts):
            fields[name] = _fields(value)
    return fields


def _part(value: object) -> object:
    """One of several of a field: a session by its name, with what else is told of it."""
    match value:
        case SessionId():
            return _session(value)
        case OpenedSession(held_by=held_by):
            return _session(value) | {"told_by": value.node, "held_by": held_by}
        case Located(held_by=held_by, seen=seen):
            return _session(value.session) | {"held_by": held_by, "seen": seen}
        case Finding():
            return _fields(value)
        case _:
            return value


def _session(session: SessionId | OpenedSession) -> dict[str, Any]:
    """`node` is null where the source counts its nodes as one."""
    return {"node": session.scope or None, "device_flag": session.device_flag, "conn_id": session.conn_id}
