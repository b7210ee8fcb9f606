"""What a user was shown as when their sources came into doubt and when they came out of it, for their timeline.

No event of the user tells of either; the service is asked what it said just before and just after.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from ledger.cli.client import Json, ServiceClient

ENDED = "_ended"
"""Added to the kind of a doubt: the entry of its end."""

MAX_ASKED = 50
"""How many doubts, the latest, are asked about at most: three requests for each begin and each end."""

_DOUBTS = frozenset({"source_dark", "node_down"})


class AnnotatedEntries(NamedTuple):
    """Entries by position, and how many doubts among them were not asked about."""

    entries: list[Json]
    unasked: int


def with_statuses(
    service: ServiceClient, uid: str, entries: Sequence[Json], until: datetime | None
) -> AnnotatedEntries:
    """Returns the entries by position: those of the latest doubts with the statuses shown before and after.

    The end of such a doubt that changed the status is an entry, too, if it was recorded before `until`.
    """
    doubts = [number for number, entry in enumerate(entries) if entry["kind"] in _DOUBTS]
    asked = frozenset(doubts[-MAX_ASKED:])
    told: list[Json] = []
    for number, entry in enumerate(entries):
        told += _annotated(service, uid, entry, until) if number in asked else [entry]
    return AnnotatedEntries(sorted(told, key=lambda entry: int(entry["position"])), len(doubts) - len(asked))


def _annotated(service: ServiceClient, uid: str, doubt: Json, until: datetime | None) -> Iterator[Json]:
    yield {**doubt, **_change(service, uid, doubt["position"])}
    if doubt["until"] is not None:
        end = _change(service, uid, doubt["last_position"])
        in_time = until is None or datetime.fromisoformat(end["recorded_at"]) < until
        if in_time and end["status_before"] != end["status_after"]:
            place = {"kind": doubt["kind"] + ENDED, "position": doubt["last_position"], "at": doubt["until"]}
            yield {**doubt, **end, **place}


def _change(service: ServiceClient, uid: str, position: int) -> Json:
    """The statuses shown when the event at a position was recorded: without it, and with it."""
    recorded_at = service.event_at(position)["recorded_at"]
    before, after = (
        service.presences([uid], {"at": recorded_at, "position": place})[0]["status"]
        for place in (position - 1, position)
    )
    return {"recorded_at": recorded_at, "status_before": before, "status_after": after}
