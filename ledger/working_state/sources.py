"""The states of the sources: snapshots written with the append, completed by the events that followed; their table.

A state is needed whole and at once to judge a webhook or derive a status, while a source's stream grows by
each delivery: so a snapshot is written now and then, and reading folds what came after it.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, LiteralString, NamedTuple

import msgspec
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain import status
from ledger.domain.event_types import SourceEvent
from ledger.domain.events import Configured, DeliveryReceived
from ledger.domain.imported import SourceImported
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.recent import NO_BODIES, Body, RecentBodies
from ledger.domain.reconciliation_events import NodeBooted, NodeDown, NodeSettled, SourceDark, SourceLit
from ledger.domain.source import SourceState, evolve_source
from ledger.errors import LedgerError
from ledger.store.ledger import Ledger
from ledger.store.mapper import UnreadableEvent, source_stream
from ledger.store.recorder import StoredRow

SNAPSHOT_EVERY = 256
"""Events of a source between two snapshots."""

_PAGE = 1000

_READ = "SELECT version, state FROM source_states WHERE source = %s"

_HOLDING = """
SELECT source FROM source_states WHERE position(%b IN state) > 0 OR position('\\x5c'::bytea IN state) > 0
"""

_VERSION = "SELECT version FROM source_states WHERE source = %s"

READ_ALL: LiteralString = "SELECT source, version, state, rules_position FROM source_states ORDER BY source"

_WRITE = """
INSERT INTO source_states AS s (source, version, rules_position, state) VALUES (%s, %s, %s, %s)
    ON CONFLICT (source) DO UPDATE
   SET version = excluded.version, rules_position = greatest(s.rules_position, excluded.rules_position),
       state = excluded.state
 WHERE s.version < excluded.version
"""


_NOT_KEPT = {"name", "version", "recent"}
"""What has a column of its own, and the bodies sent lately, which the stream has anyway."""

Snapshot = msgspec.defstruct(
    "Snapshot",
    [(field.name, field.type) for field in msgspec.structs.fields(SourceState) if field.name not in _NOT_KEPT],
    frozen=True,
)
"""A source's state as it is kept: its fields without those of `_NOT_KEPT`."""

_decode = msgspec.json.Decoder(Snapshot).decode


class _Grace(msgspec.Struct, frozen=True):
    grace_seconds: float


class _Doubt(msgspec.Struct, frozen=True):
    down_since: Instant | None


class _ShownBy(msgspec.Struct, frozen=True):
    """What `derive` reads of a snapshot, however much else of it is not known here."""

    policy: _Grace
    node_profiles: dict[str, str]
    nodes: dict[str, _Doubt]
    dark_since: Instant | None


_decode_shown_by = msgspec.json.Decoder(_ShownBy).decode

_PROFILES = frozenset(Profile)

_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError)


class SourceUnreadable(LedgerError):
    """What a source has come to cannot be read: nothing can be judged by its state until it can."""

    def __init__(self, state: SourceState, why: UnreadableEvent | str) -> None:
        super().__init__(f"The state of source {state.name!r} is not known. {why}")
        self.source = state.name
        self.state = state
        """The source as far as it could be read."""


class SourceRow(NamedTuple):
    """A snapshot ready to be written; `rules_position` is 0 where the rules did not change."""

    source: str
    version: int
    rules_position: int
    state: bytes


def changes_rules(event: object) -> bool:
    """Whether an event changes what the status shown is derived from."""
    return isinstance(event, Configured | NodeDown | NodeBooted | NodeSettled | SourceDark | SourceLit | SourceImported)


def to_row(source: SourceState, rules_position: int = 0) -> SourceRow:
    """The snapshot of a state."""
    snapshot = Snapshot(**{name: getattr(source, name) for name in Snapshot.__struct_fields__})
    return SourceRow(source.name, source.version, rules_position, msgspec.json.encode(snapshot))


def snapshot_is_due(before: SourceState, after: SourceState) -> bool:
    """Whether so many events have come that reading them all again would take long."""
    return after.version // SNAPSHOT_EVERY != before.version // SNAPSHOT_EVERY


def write(cursor: Cursor[Any], rows: Iterable[SourceRow]) -> None:
    """Write snapshots within the append's transaction; a newer one there already is left."""
    for row in rows:
        cursor.execute(_WRITE, row)


def longest_grace(connection: Connection[TupleRow]) -> float:
    """The longest grace period of all sources, in seconds."""
    rows = connection.cursor(binary=True).execute(READ_ALL).fetchall()
    return status.longest_grace({name: shown_by(name, version, state) for name, version, state, _ in rows})


def holding(connection: Connection[TupleRow], text: str) -> list[str]:
    """The sources whose snapshots hold a text, or escapes that may stand for it."""
    return [name for (name,) in connection.cursor(binary=True).execute(_HOLDING, (text.encode(),)).fetchall()]


def load(connection: Connection[TupleRow], ledger: Ledger, name: str, *, to_judge: bool = True) -> SourceState:
    """A source's state as of its last event. Raises SourceUnreadable.

    The bodies of its dedupe window are read, too, unless nothing is to be judged by it: they may be thousands.
    """
    row = connection.cursor(binary=True).execute(_READ, (name,)).fetchone()
    if row is None:
        return follow(connection, ledger, SourceState(name))
    source = _judged_by(name, *row)
    if to_judge:
        source = msgspec.structs.replace(source, recent=_recent_before(connection, ledger, source))
    return follow(connection, ledger, source)


def shown_by(name: str, version: int, state: bytes) -> SourceState:
    """The state in a row, as far as what is shown of the source's users follows from it. Raises SourceUnreadable.

    To judge by a state is to know all of it; to show what was judged takes a few facts, which a newer version keeps
    next to others that this one does not know.
    """
    try:
        return _state(name, version, _decode(state))
    except _UNDECODABLE:
        try:
            found = _decode_shown_by(state)
        except _UNDECODABLE as error:
            raise _unreadable(name, version) from error
    return SourceState(
        name,
        version,
        policy=Policy(grace_seconds=found.policy.grace_seconds),
        node_profiles={node: _known_profile(profile) for node, profile in found.node_profiles.items()},
        nodes={node: NodeState(down_since=each.down_since) for node, each in found.nodes.items()},
        dark_since=found.dark_since,
    )


def _known_profile(profile: str) -> Profile:
    """One that is not known is read as one that says least: which node holds a session does not follow from it."""
    return Profile(profile) if profile in _PROFILES else Profile.V2_2


def _judged_by(name: str, version: int, state: bytes) -> SourceState:
    """The state in a row, without the bodies sent lately. Raises SourceUnreadable, also where it says more."""
    try:
        snapshot = _decode(state)
        says_more = _says_more(msgspec.json.decode(state), msgspec.to_builtins(snapshot))
    except _UNDECODABLE as error:
        raise _unreadable(name, version) from error
    if says_more:
        raise _unreadable(name, version)
    return _state(name, version, snapshot)


def _says_more(kept: object, read: object) -> bool:
    """Whether something that was kept has a name which was not read, at any depth."""
    return (
        isinstance(kept, dict)
        and isinstance(read, dict)
        and any(name not in read or _says_more(value, read[name]) for name, value in kept.items())
    )


def _state(name: str, version: int, snapshot: msgspec.Struct) -> SourceState:
    return SourceState(name, version, **msgspec.structs.asdict(snapshot))


def _unreadable(name: str, version: int) -> SourceUnreadable:
    why = f"Its state kept at version {version} cannot be read; run the newer version that wrote it"
    return SourceUnreadable(SourceState(name, version), why)


def follow(connection: Connection[TupleRow], ledger: Ledger, source: SourceState) -> SourceState:
    """The source after the events that were stored since its version. Raises SourceUnreadable."""
    while rows := ledger.events_recorder.stream_rows(
        source_stream(source.name), after=source.version, limit=_PAGE, connection=connection
    ):
        for row in rows:
            source = evolve_source(source, _decode_event(ledger, source, row), row.position)
    return source


def bring_up_to_date(
    connection: Connection[TupleRow], ledger: Ledger, name: str, known: SourceState | None
) -> SourceState:
    """A source's state as of its last event, followed from `known` where that is short. Raises SourceUnreadable."""
    if known is not None and _is_near(connection, known):
        # Where it cannot be: a version that reads what this one does not may have left a snapshot beyond it.
        with suppress(SourceUnreadable):
            return follow(connection, ledger, known)
    return load(connection, ledger, name)


def _is_near(connection: Connection[TupleRow], known: SourceState) -> bool:
    """Whether no more is to be read from there than for the dedupe window before the snapshot, or than a page."""
    row = connection.execute(_VERSION, (known.name,)).fetchone()
    return row is None or row[0] - known.version < max(_PAGE, len(known.recent))


def _recent_before(connection: Connection[TupleRow], ledger: Ledger, source: SourceState) -> RecentBodies:
    """The bodies of the dedupe window up to the source's version, read backwards from there."""
    since = (source.last_webhook_at or 0) - round(source.policy.dedupe_seconds * SECOND)
    found: list[Body] = []
    before = source.version + 1
    while rows := ledger.events_recorder.stream_rows(
        source_stream(source.name), before=before, descending=True, limit=_PAGE, connection=connection
    ):
        bodies = [body for row in rows for body in _extract_bodies(_decode_event(ledger, source, row))]
        found += [body for body in bodies if body.received_at >= since]
        if bodies and bodies[-1].received_at < since:
            break
        before = rows[-1].version
    recent = NO_BODIES
    for body in reversed(found):
        recent = recent.remember(*body, keep_since=since)
    return recent


def _decode_event(ledger: Ledger, source: SourceState, row: StoredRow) -> SourceEvent:
    """The event of a row of the source's stream; where there is none, `source` is as far as it can be read."""
    try:
        event = ledger.event(row)
    except UnreadableEvent as error:
        raise SourceUnreadable(source, error) from error
    if not isinstance(event, SourceEvent):
        raise TypeError(f"{type(event).__name__} stands in a source's stream")
    return event


def _extract_bodies(event: object) -> list[Body]:
    """The bodies that an event tells of, the latest first."""
    match event:
        case DeliveryReceived():
            return [Body(event.node, event.digest, event.delivery, event.received_at)]
        case SourceImported():
            return list(reversed(event.recent))
        case _:
            return []
