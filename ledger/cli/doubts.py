"""What a user was shown when his sources came into doubt and when they came out of it, for the lines of his timeline.

No event of his tells of either; the service is asked what it said just before and just after.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from ledger.cli.client import Client, Json

ENDED = "_ended"
"""Added to the kind of a doubt: the entry of its end."""

_DOUBTS = frozenset({"source_dark", "node_down"})


def with_statuses(service: Client, uid: str, entries: Sequence[Json], until: datetime | None) -> list[Json]:
    """Returns the entries by position: those of doubts with the statuses shown before and after.

    The end of a doubt that changed the status is an entry, too, if it was recorded before `until`.
    """
    return sorted(_told(service, uid, entries, until), key=lambda entry: int(entry["position"]))


def _told(service: Client, uid: str, entries: Sequence[Json], until: datetime | None) -> Iterator[Json]:
    for entry in entries:
        if entry["kind"] not in _DOUBTS:
            yield entry
            continue
        yield {**entry, **_change(service, uid, entry["position"])}
        if entry["until"] is not None:
            end = _change(service, uid, entry["last_position"])
            in_time = until is None or datetime.fromisoformat(end["recorded_at"]) < until
            if in_time and end["status_before"] != end["status_after"]:
                place = {"kind": entry["kind"] + ENDED, "position": entry["last_position"], "at": entry["until"]}
                yield {**entry, **end, **place}


def _change(service: Client, uid: str, position: int) -> Json:
    """The statuses shown when the event at a position was recorded: without it, and with it."""
    recorded_at = service.event_at(position)["recorded_at"]
    before, after = (
        service.presences([uid], {"at": recorded_at, "position": place})[0]["status"]
        for place in (position - 1, position)
    )
    return {"recorded_at": recorded_at, "status_before": before, "status_after": after}
