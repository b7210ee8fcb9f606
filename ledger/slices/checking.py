"""Checking a slice before anything of it is written: its maker may have written anything, with right sums."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from ledger.domain.event_types import Event, SourceEvent, UserEvent
from ledger.domain.imported import PresenceImported, SourceImported
from ledger.errors import LedgerError
from ledger.slices.form import LedgerLine, SliceHeader, StateLine
from ledger.slices.reading import Numbered, SliceFile
from ledger.store.mapper import SOURCE_PREFIX, USER_PREFIX, EventMapper, UnknownKind, UnreadableEvent, user_stream
from ledger.text import shortened
from projections.models.current import can_be_stored

_SOURCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,63}")
"""As in the settings: it is part of paths and of answers."""

Progress = Callable[[int, int], None]
"""Told how many lines are done, of how many."""

State: TypeAlias = PresenceImported | SourceImported
"""What begins a stream at any version, in place of the events before."""


class Checked(NamedTuple):
    """What is known of a slice once all of its lines are."""

    events: int
    states: int
    ends: tuple[LedgerLine, LedgerLine] | None
    """Its first line and its last."""
    sources: frozenset[str]


def check(file: SliceFile, mapper: EventMapper, progress: Progress) -> Checked:
    """Read a slice from its begin to its end. Raises SliceError naming the first line that cannot be imported."""
    counted = [0, 0]
    ends: tuple[LedgerLine, LedgerLine] | None = None
    sources = set()
    order = _LineOrder(file.header)
    for numbered in file.lines():
        line = numbered.line
        event = _decoded(file, numbered, mapper)
        for wrong in (_wrong_names(line, event), order.wrong_with(line, event)):
            if wrong is not None:
                raise file.wrong(numbered.number, wrong)
        ends = (line if ends is None else ends[0], line)
        counted[isinstance(line, StateLine)] += 1
        if line.stream.startswith(SOURCE_PREFIX):
            sources.add(line.stream.removeprefix(SOURCE_PREFIX))
        progress(sum(counted), 0)
    return Checked(counted[0], counted[1], ends, frozenset(sources))


def check_renames(renames: Mapping[str, str], sources: frozenset[str]) -> None:
    """Whether a slice's sources can have these names, by their old ones. Raises LedgerError."""
    if unknown := sorted(renames.keys() - sources):
        raise LedgerError(f"The slice has no source {unknown[0]!r}.\nIt has: {', '.join(sorted(sources)) or 'none'}.")
    olds: dict[str, str] = {}
    for old in sorted(sources):
        new = renames.get(old, old)
        if new in olds:
            raise LedgerError(
                f"The sources {olds[new]!r} and {old!r} of the slice would both be {new!r}; nothing was imported.\n"
                f"Give each a name of its own: --source {olds[new]}=NEW --source {old}=ANOTHER."
            )
        olds[new] = old


class _LineOrder:
    """Where each line may stand: states first, all by position and time, a stream's events version by version.

    It keeps the last version of each stream.
    """

    def __init__(self, header: SliceHeader) -> None:
        self._began = header.began.position
        self._sources_have_gaps = header.users is not None
        """Of chosen users, a slice has not all that their sources said."""
        self._before: LedgerLine | None = None
        self._versions: dict[str, int] = {}

    def wrong_with(self, line: LedgerLine, event: Event) -> str | None:
        """What is wrong with the next line's place, if anything is."""
        before, self._before = self._before, line
        if before is not None and (line.position <= before.position or line.recorded_at < before.recorded_at):
            return "comes before the line above it, by time or by position"
        if isinstance(line, StateLine) != (line.position <= self._began):
            return (
                "is a state from after the slice's start"
                if isinstance(line, StateLine)
                else "is an event from before the slice's start"
            )
        last = self._versions.get(line.stream)
        self._versions[line.stream] = line.version
        if isinstance(event, PresenceImported | SourceImported):
            return _wrong_state(line, event, last)
        if isinstance(line, StateLine):
            return "is a state line, but its event is not a state"
        return self._wrong_version(line, last or 0)

    def _wrong_version(self, line: LedgerLine, last: int) -> str | None:
        missing = line.version - last - 1
        gap_allowed = self._sources_have_gaps and line.stream.startswith(SOURCE_PREFIX)
        if missing == 0 or (missing > 0 and gap_allowed):
            return None
        return f"is version {line.version} of the stream {shortened(repr(line.stream))}, where {last + 1} is expected"


def _wrong_state(line: LedgerLine, event: State, last: int | None) -> str | None:
    """What is wrong with a state's place, if anything is; `last` is the version of its stream's line before."""
    if last is not None:
        return f"is a state of the stream {shortened(repr(line.stream))}, which already has a state or an event above"
    if isinstance(event, SourceImported):
        is_its_own = event.version == line.version
    else:
        carried = event.presence
        is_its_own = (user_stream(carried.uid), carried.version, carried.position) == (
            line.stream,
            line.version,
            line.position,
        )
    return None if is_its_own else "holds a state of another user, version or position than its own"


def _decoded(file: SliceFile, numbered: Numbered, mapper: EventMapper) -> Event:
    """The line's event. Raises SliceError where it cannot be read."""
    line = numbered.line
    try:
        return mapper.event(line.event_kind, bytes(line.payload))
    except UnknownKind as error:
        kind = shortened(repr(line.event_kind))
        newer = f"is an event of kind {kind}, which a newer version wrote; upgrade presence ledger"
        raise file.wrong(numbered.number, newer) from error
    except UnreadableEvent as error:
        why = "nested too deeply" if isinstance(error.__cause__, RecursionError) else error.__cause__
        raise file.wrong(numbered.number, f"holds an event that cannot be read ({why})") from error


def _wrong_names(line: LedgerLine, event: Event) -> str | None:
    """What is wrong with the stream that an event stands in, or with a name of a user or a source, if anything is."""
    belongs = (line.stream.startswith(USER_PREFIX) and isinstance(event, UserEvent)) or (
        line.stream.startswith(SOURCE_PREFIX) and isinstance(event, SourceEvent)
    )
    if not belongs:
        return f"holds an event that does not belong to the stream {shortened(repr(line.stream))}"
    names = {getattr(event, "source", None)} - {None}
    if line.stream.startswith(SOURCE_PREFIX):
        names.add(line.stream.removeprefix(SOURCE_PREFIX))
    elif not can_be_stored(line.stream):
        return "has a uid that cannot be stored"
    if isinstance(event, PresenceImported):
        names |= {device.source for device in event.presence.devices}
    odd = sorted(str(name) for name in names if not _SOURCE_NAME.fullmatch(str(name)))
    return f"has a source name that is not allowed: {shortened(repr(odd[0]))}" if odd else None
