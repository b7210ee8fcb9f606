"""Importing a slice: all of it or nothing, in one transaction, after the whole file has been checked."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from ledger.domain.imported import SourceImported
from ledger.slices import ledger_rows as slices
from ledger.slices.checking import Progress, check, check_renames
from ledger.slices.form import LedgerLine, Slice
from ledger.slices.landing import LandedEvent, Landing, mixed_up
from ledger.slices.reading import SliceFile
from ledger.slices.renumbering import Renumbering, SamePositions, ShiftedPositions
from ledger.store import identity
from ledger.store.commit import LONG_LOCK_TIMEOUT_SECONDS, Commit
from ledger.store.ledger import Ledger, translated
from ledger.store.mapper import SOURCE_PREFIX, EventMapper, source_stream

LINES_AT_A_TIME = 2_000


class Imported(NamedTuple):
    """What an import came to."""

    events: int
    states: int
    first: int
    """The position of the first of them in the ledger."""
    renumbered: bool
    """Its positions are others than in its ledger of origin."""
    already: bool
    """The ledger had them all: nothing was changed."""
    recorded_anew: bool
    """All have the instant of the import as their `recorded_at`, since their own would go back, or are to come."""


def import_slice(ledger: Ledger, file: SliceFile, renames: Mapping[str, str], progress: Progress) -> Imported:
    """Bring a slice in; `renames` gives its sources other names. Raises LedgerError, and nothing is stored.

    Into an empty ledger it comes with its positions; into another above its head. A slice that is in the ledger already
    is left as it is.
    """
    checked = check(file, ledger.events_mapper, progress)
    check_renames(renames, checked.sources)
    if checked.ends is None:
        return Imported(0, 0, 0, renumbered=False, already=True, recorded_anew=False)
    first, last = checked.ends
    renamed = {old: new for old, new in renames.items() if old != new}
    total = checked.events + checked.states
    with translated(), ledger.events_recorder.commit(LONG_LOCK_TIMEOUT_SECONDS) as commit:
        found = slices.find_position(commit.cursor, _stream(first.stream, renamed), first.version, first.event_kind)
        if found is not None:
            renumbered = _expect_all(commit, file, ledger.events_mapper, renamed, found, first)
            return Imported(
                checked.events, checked.states, found, renumbered=renumbered, already=True, recorded_anew=False
            )
        numbering = _numbering(file, commit.head)
        moved = Renumbering(numbering, renamed)
        stamp = _stamp(commit, first, last)
        landing = Landing(commit, stamp)
        done = 0
        for part in _parts(_placed(file.slice(), ledger.events_mapper, moved)):
            landing.put(part)
            done += len(part)
            progress(done, total)
        landing.finish()
        identity.renew(commit.cursor)
        place = numbering.new_position(first.position)
        return Imported(
            checked.events,
            checked.states,
            place,
            renumbered=place != first.position,
            already=False,
            recorded_anew=stamp is not None,
        )


def _numbering(file: SliceFile, head: int) -> SamePositions:
    """The slice's positions in a ledger that ends there: its own in an empty one."""
    return ShiftedPositions(head, file.header.began.position) if head else SamePositions()


def _stream(stream: str, renames: Mapping[str, str]) -> str:
    if not stream.startswith(SOURCE_PREFIX):
        return stream
    name = stream.removeprefix(SOURCE_PREFIX)
    return source_stream(renames.get(name, name))


def _stamp(commit: Commit, first: LedgerLine, last: LedgerLine) -> datetime | None:
    """The instant that all are recorded at; None: each keeps its own, since none of them goes back.

    Nor is one ahead of the clock: until that had come, everything after it would be recorded at its instant.
    """
    before = slices.last_recorded_at(commit.cursor)
    goes_back = before is not None and first.recorded_at < before
    return commit.recorded_at if goes_back or last.recorded_at > commit.recorded_at else None


def _placed(slice_: Slice, mapper: EventMapper, moved: Renumbering) -> Iterator[LandedEvent]:
    """The slice's lines as they are to lie in the ledger."""
    versions: dict[str, int] = {}
    for line in slice_.lines:
        payload = bytes(line.payload)
        event = mapper.event(line.event_kind, payload)
        stream, version, state_of = line.stream, line.version, None
        if stream.startswith(SOURCE_PREFIX):
            # A slice of chosen users has not all that their sources said: versions have no gaps all the same.
            if isinstance(event, SourceImported):
                state_of = stream.removeprefix(SOURCE_PREFIX)
            else:
                version = versions.get(stream, 0) + 1
            versions[stream] = version
            stream = _stream(stream, moved.sources)
        position = moved.numbering.add(line.position, state_of)
        kind = line.event_kind
        changed = event if moved.changes_nothing else moved.event(event, position)
        if changed is not event:
            kind, payload = mapper.kind_and_payload(changed)
        yield LandedEvent(position, stream, version, kind, payload, line.recorded_at, changed)


def _parts(lines: Iterator[LandedEvent]) -> Iterator[list[LandedEvent]]:
    while part := list(islice(lines, LINES_AT_A_TIME)):
        yield part


def _expect_all(
    commit: Commit,
    file: SliceFile,
    mapper: EventMapper,
    renames: Mapping[str, str],
    found: int,
    first: LedgerLine,
) -> bool:
    """The slice, of which the first line was found at that position, is in the ledger as an import puts it there.

    -> whether its positions are others. Raises LedgerError where not all of it is there.
    """
    mixed = first.stream
    for numbering in [SamePositions()] * (found == first.position) + [
        ShiftedPositions(found - 1, file.header.began.position)
    ]:
        missing = _first_missing(commit, _placed(file.slice(), mapper, Renumbering(numbering, renames)))
        if missing is None:
            return found != first.position
        mixed = missing
    raise mixed_up(mixed)


def _first_missing(commit: Commit, lines: Iterator[LandedEvent]) -> str | None:
    """The stream of the first line that is not in the ledger."""
    for part in _parts(lines):
        rows = slices.at_positions(commit.cursor, [line.position for line in part])
        for line in part:
            if rows.get(line.position) != (line.stream, line.version, line.kind, line.payload):
                return line.stream
    return None
