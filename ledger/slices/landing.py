"""Where a slice's events come to lie: in the ledger, sealed, with the states that follow from them."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import NamedTuple, cast

from ledger.domain.event_types import Event, SourceEvent, UserEvent
from ledger.domain.evolve import evolve
from ledger.domain.presence import Presence
from ledger.domain.source import SourceState, evolve_source
from ledger.errors import LedgerError
from ledger.ingest.known import KnownUsers
from ledger.slices import ledger_rows as slices
from ledger.store.commit import Commit
from ledger.store.mapper import SOURCE_PREFIX, USER_PREFIX
from ledger.store.rows import Rows
from ledger.working_state import looks, sources
from projections.models import current


class LandedEvent(NamedTuple):
    """An event as it is to lie in the ledger."""

    position: int
    stream: str
    version: int
    kind: str
    payload: bytes
    recorded_at: datetime
    event: Event


class Landing:
    """Takes lines in their order. `recorded_at` is given to all of them, None: each keeps its own."""

    def __init__(self, commit: Commit, recorded_at: datetime | None) -> None:
        self._commit = commit
        self._recorded_at = recorded_at
        self._head_before = commit.head
        self._known = KnownUsers()
        self._sources: dict[str, SourceState] = {}
        self._rules: dict[str, int] = {}
        """Where each source's rules changed last."""

    def put(self, lines: Sequence[LandedEvent]) -> None:
        """Append lines. Raises LedgerError where their streams have other events."""
        streams = sorted({line.stream for line in lines})
        if self._head_before and (mixed := slices.other_stream(self._commit.cursor, streams, self._head_before)):
            raise mixed_up(mixed)
        self._append(lines)
        self._fold_users(lines)
        for line in lines:
            if line.stream.startswith(SOURCE_PREFIX):
                self._fold_source(line)

    def finish(self) -> None:
        """Write what is kept of sources, and tell the ledger's followers."""
        rows = [sources.to_row(source, self._rules.get(name, 0)) for name, source in self._sources.items()]
        sources.write(self._commit.cursor, rows)
        self._commit.notify()

    def _append(self, lines: Sequence[LandedEvent]) -> None:
        """One append for each run of positions without a gap that were recorded together."""
        for _, run in groupby(enumerate(lines), lambda each: (each[1].position - each[0], each[1].recorded_at)):
            rows, first = Rows(), None
            for _, line in run:
                first = first or line
                rows.add(line.stream, line.version, line.kind, line.payload)
            assert first is not None
            self._commit.append_at(rows.pack(), first.position, self._recorded_at or first.recorded_at)

    def _fold_users(self, lines: Sequence[LandedEvent]) -> None:
        uids = {line.stream.removeprefix(USER_PREFIX) for line in lines if line.stream.startswith(USER_PREFIX)}
        presences = self._known.get(uids)
        missing = sorted(uids - presences.keys())
        presences.update(current.load(self._commit.connection, missing))
        for line in lines:
            if line.stream.startswith(USER_PREFIX):
                uid = line.stream.removeprefix(USER_PREFIX)
                event = cast(UserEvent, line.event)
                presences[uid] = evolve(presences.get(uid) or Presence(uid), event, line.position)
        current.write(self._commit.cursor, list(current.to_rows(presences.values())))
        # Each is to be looked at in turn: followers hear nothing of states.
        looks.add(self._commit.cursor, list(presences))
        self._known.remember(presences)

    def _fold_source(self, line: LandedEvent) -> None:
        name = line.stream.removeprefix(SOURCE_PREFIX)
        event = cast(SourceEvent, line.event)
        self._sources[name] = evolve_source(self._sources.get(name) or SourceState(name), event, line.position)
        if sources.changes_rules(event):
            self._rules[name] = line.position


def mixed_up(stream: str) -> LedgerError:
    """Why a slice cannot be imported of whose streams one is in the ledger with other events."""
    name = stream.partition(":")[2]
    if stream.startswith(SOURCE_PREFIX):
        return LedgerError(
            f"The ledger has other events of the source {name!r}, and streams are not mixed; nothing was imported.\n"
            f"Give it another name with --source {name}=NEW, or import into an empty ledger."
        )
    return LedgerError(
        f"The ledger has other events of the user {name!r}, and streams are not mixed; nothing was imported.\n"
        "Import into an empty ledger, or a slice of other users."
    )
