"""Importing a slice: all of it or nothing, in one transaction, after the whole file has been checked."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from ledger.domain.history import Event, SourceEvent, UserEvent
from ledger.domain.imported import PresenceImported
from ledger.errors import LedgerError
from ledger.slices.form import EventLine, Slice, StateLine
from ledger.slices.landing import Landing, Line, mixed_up
from ledger.slices.reading import Numbered, SliceFile
from ledger.slices.renumbering import Kept, Moved, Shifted
from ledger.store.ledger import Ledger, translated
from ledger.store.mapper import SOURCE_PREFIX, USER_PREFIX, EventMapper, UnknownKind, UnreadableEvent, source_stream
from ledger.store.recorder import Commit
from projections import slices
from projections.current import can_be_stored

LINES_AT_A_TIME = 2_000

_SOURCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,63}")
"""As in the settings: it is part of paths and of answers."""

Progress = Callable[[int, int], None]
"""Told how many lines are done, of how many."""


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


class Checked(NamedTuple):
    """What is known of a slice once all of its lines are."""

    events: int
    states: int
    first: StateLine | EventLine | None
    sources: frozenset[str]


def check(file: SliceFile, mapper: EventMapper, progress: Progress) -> Checked:
    """Read a slice from its begin to its end. Raises SliceError naming the first line that cannot be imported."""
    counted = [0, 0]
    first = before = None
    sources = set()
    for numbered in file.lines():
        line = numbered.line
        _decode(file, numbered, mapper)
        if before is not None and (line.position <= before.position or line.recorded_at < before.recorded_at):
            raise file.wrong(numbered.number, "stands before the one above it in time or in the ledger")
        first, before = first or line, line
        counted[isinstance(line, StateLine)] += 1
        if line.stream.startswith(SOURCE_PREFIX):
            sources.add(line.stream.removeprefix(SOURCE_PREFIX))
        progress(sum(counted), 0)
    return Checked(counted[0], counted[1], first, frozenset(sources))


def import_slice(ledger: Ledger, file: SliceFile, renames: Mapping[str, str], progress: Progress) -> Imported:
    """Bring a slice in; `renames` gives its sources other names. Raises LedgerError, and nothing is stored.

    Into an empty ledger it comes with its positions; into another above its head. A slice that is in the ledger already
    is left as it is.
    """
    checked = check(file, ledger.events_mapper, progress)
    if unknown := sorted(renames.keys() - checked.sources):
        raise LedgerError(
            f"The slice has no source {unknown[0]!r}.\nIt has: {', '.join(sorted(checked.sources)) or 'none'}."
        )
    if checked.first is None:
        return Imported(0, 0, 0, renumbered=False, already=True)
    renamed = {old: new for old, new in renames.items() if old != new}
    total = checked.events + checked.states
    with translated(), ledger.events_recorder.commit() as commit:
        first = checked.first
        found = slices.place_of(commit.cursor, _stream(first.stream, renamed), first.version, first.event_kind)
        if found is not None:
            renumbered = _expect_all(commit, file, ledger.events_mapper, renamed, found, first)
            return Imported(checked.events, checked.states, found, renumbered=renumbered, already=True)
        numbering = _numbering(file, commit.head)
        moved = Moved(numbering, renamed)
        landing = Landing(commit, _stamp(commit, first))
        done = 0
        for part in _parts(_placed(file.slice(), ledger.events_mapper, moved)):
            landing.put(part)
            done += len(part)
            progress(done, total)
        landing.finish()
        place = first.position if isinstance(numbering, Kept) else numbering.of(first.position)
        return Imported(checked.events, checked.states, place, renumbered=place != first.position, already=False)


def _decode(file: SliceFile, numbered: Numbered, mapper: EventMapper) -> None:
    """Read the line's event, to know that it can be. Raises SliceError."""
    line = numbered.line
    try:
        event = mapper.event(line.event_kind, bytes(line.payload))
    except UnknownKind as error:
        raise file.wrong(
            numbered.number, f"is an event of kind {line.event_kind!r}, which a newer version wrote; upgrade this one"
        ) from error
    except UnreadableEvent as error:
        raise file.wrong(numbered.number, f"holds an event that cannot be read ({error.__cause__})") from error
    belongs = (line.stream.startswith(USER_PREFIX) and isinstance(event, UserEvent)) or (
        line.stream.startswith(SOURCE_PREFIX) and isinstance(event, SourceEvent)
    )
    if not belongs:
        raise file.wrong(numbered.number, f"holds an event that is none of the stream {line.stream!r}")
    _check_names(file, numbered, event)


def _check_names(file: SliceFile, numbered: Numbered, event: Event) -> None:
    """What names a user or a source must be able to: whoever made the slice may have written anything."""
    stream = numbered.line.stream
    names = {getattr(event, "source", None)} - {None}
    if stream.startswith(SOURCE_PREFIX):
        names.add(stream.removeprefix(SOURCE_PREFIX))
    elif not can_be_stored(stream):
        raise file.wrong(numbered.number, "names a user whom there cannot be")
    if isinstance(event, PresenceImported):
        names |= {device.source for device in event.presence.devices}
    for name in names:
        if not _SOURCE_NAME.fullmatch(str(name)):
            raise file.wrong(numbered.number, f"names a source that there cannot be: {name!r}")


def _numbering(file: SliceFile, head: int) -> Kept | Shifted:
    """The slice's positions in a ledger that ends there: its own in an empty one."""
    return Shifted(head, file.header.began.position) if head else Kept()


def _stream(stream: str, renames: Mapping[str, str]) -> str:
    if not stream.startswith(SOURCE_PREFIX):
        return stream
    name = stream.removeprefix(SOURCE_PREFIX)
    return source_stream(renames.get(name, name))


def _stamp(commit: Commit, first: StateLine | EventLine) -> datetime | None:
    """The instant that all are recorded at; None: each keeps its own, since none of them goes back."""
    last = slices.last_recorded_at(commit.cursor)
    return None if last is None or first.recorded_at >= last else commit.recorded_at


def _placed(taken: Slice, mapper: EventMapper, moved: Moved) -> Iterator[Line]:
    """The slice's lines as they are to lie in the ledger."""
    versions: dict[str, int] = {}
    for line in taken.lines:
        is_source = line.stream.startswith(SOURCE_PREFIX)
        stream, version = line.stream, line.version
        if is_source:
            # A slice of chosen users has not all that their sources said: versions have no gaps all the same.
            version = line.version if isinstance(line, StateLine) else versions.get(stream, 0) + 1
            versions[stream] = version
            stream = _stream(stream, moved.sources)
        state_of = line.stream.removeprefix(SOURCE_PREFIX) if is_source and isinstance(line, StateLine) else None
        position = moved.numbering.add(line.position, state_of)
        payload = bytes(line.payload)
        event = mapper.event(line.event_kind, payload)
        kind = line.event_kind
        changed = event if moved.changes_nothing else moved.event(event, position)
        if changed is not event:
            kind, payload = mapper.kind_and_payload(changed)
        yield Line(position, stream, version, kind, payload, line.recorded_at, changed)


def _parts(lines: Iterator[Line]) -> Iterator[list[Line]]:
    while part := list(islice(lines, LINES_AT_A_TIME)):
        yield part


def _expect_all(
    commit: Commit,
    file: SliceFile,
    mapper: EventMapper,
    renames: Mapping[str, str],
    found: int,
    first: StateLine | EventLine,
) -> bool:
    """The slice, of which the first line was found at that position, is in the ledger as an import puts it there.

    -> whether its positions are others. Raises LedgerError where not all of it is there.
    """
    mixed = first.stream
    for numbering in [Kept()] * (found == first.position) + [Shifted(found - 1, file.header.began.position)]:
        missing = _first_missing(commit, _placed(file.slice(), mapper, Moved(numbering, renames)))
        if missing is None:
            return found != first.position
        mixed = missing
    raise mixed_up(mixed)


def _first_missing(commit: Commit, lines: Iterator[Line]) -> str | None:
    """The stream of the first line that is not in the ledger."""
    for part in _parts(lines):
        rows = slices.at_positions(commit.cursor, [line.position for line in part])
        for line in part:
            if rows.get(line.position) != (line.stream, line.version, line.kind, line.payload):
                return line.stream
    return None
