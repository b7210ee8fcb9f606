"""A source's events as a slice of chosen users has them: of others their numbers alone."""

from collections.abc import Set as AbstractSet

import msgspec

from ledger.domain.event_types import Event
from ledger.domain.events import BodyRejected, ItemRejected
from ledger.domain.imported import SourceImported
from ledger.domain.reconciliation_events import PollObserved, RunStarted

_replace = msgspec.structs.replace


def cut(event: Event, users: AbstractSet[str]) -> Event | None:
    """What an event tells of these users; itself where it names no others, None where it tells of others alone."""
    match event:
        case ItemRejected() | BodyRejected():
            return None
        case PollObserved():
            return _poll(event, users)
        case RunStarted(uids=uids):
            # It stays even where it named others alone: that its instance lived then is evidence. It is not taken up.
            return event if set(uids) <= users else _replace(event, uids=_those(uids, users))
        case SourceImported():
            return cut_state(event, users)
        case _:
            return event


def _poll(event: PollObserved, users: AbstractSet[str]) -> PollObserved | None:
    """A poll as it would have been had it said nothing new of others: they are in `asked`, and nowhere else."""
    findings = tuple([finding for finding in event.findings if finding.uid in users])
    rows = {uid: row for uid, row in event.rows.items() if uid in users}
    if not findings and not rows:
        return None
    if len(findings) == len(event.findings) and len(rows) == len(event.rows):
        return event
    return _replace(event, findings=findings, rows=rows)


def cut_state(event: SourceImported, users: AbstractSet[str]) -> SourceImported:
    """A source's state without the runs under way that named others alone: of nobody they would be of everybody."""
    if all(set(run.uids) <= users for run in event.open_runs.values()):
        return event
    runs = {name: (run, _those(run.uids, users)) for name, run in event.open_runs.items()}
    left = {name: _replace(run, uids=uids) for name, (run, uids) in runs.items() if uids or not run.uids}
    return _replace(event, open_runs=left)


def _those(uids: tuple[str, ...], users: AbstractSet[str]) -> tuple[str, ...]:
    return tuple([uid for uid in uids if uid in users])
