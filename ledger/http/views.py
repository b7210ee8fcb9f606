"""A stored event as the API shows it."""

from typing import Any

import msgspec

from ledger.domain.events import WebhookObserved
from ledger.domain.history import Event
from ledger.domain.instants import of_datetime, optional, to_text
from ledger.store.mapper import SOURCE_PREFIX, USER_PREFIX
from ledger.store.recorder import StoredRow


def event_view(row: StoredRow, event: Event) -> dict[str, Any]:
    """A stored event with its place; the fields are those of its kind, instants as text, defaults included."""
    place: dict[str, Any] = {"position": row.position}
    if row.stream.startswith(USER_PREFIX):
        place["uid"] = row.stream.removeprefix(USER_PREFIX)
    else:
        place["source"] = row.stream.removeprefix(SOURCE_PREFIX)
    place["version"] = row.version
    place["kind"] = row.kind.partition(".")[0]
    place["recorded_at"] = to_text(of_datetime(row.recorded_at))
    fields = msgspec.structs.asdict(event)
    for name, value in fields.items():
        if name.endswith("_at") or name in ("at", "resumes"):
            fields[name] = optional(value)
    if isinstance(event, WebhookObserved):
        fields["swept"] = [
            {"node": session.scope or None, "device_flag": session.device_flag, "conn_id": session.conn_id}
            for session in event.swept
        ]
    return place | {name: value for name, value in fields.items() if name not in place}
