"""The projection `outages`: when a source was dark or one of its nodes down, for its users' timelines; its table.

Which event begins and ends them is the rule of the source's state, folded here from what the table holds.
"""

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString, cast

import msgspec
from psycopg import Cursor

from ledger.domain.event_types import SourceEvent
from ledger.domain.events import Configured
from ledger.domain.instants import from_datetime
from ledger.domain.nodes import NodeState
from ledger.domain.observation import Instant
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import NodeBooted, NodeDown, NodeSettled, SourceDark, SourceLit
from ledger.domain.source import SourceState, evolve_source
from ledger.store.mapper import SOURCE_PREFIX
from projections.engine.memory import Memory
from projections.engine.projection import Followed

KINDS = frozenset(
    {
        "configured.v1",
        "source_dark.v1",
        "source_lit.v1",
        "node_down.v1",
        "node_booted.v1",
        "node_settled.v1",
        "source_imported.v1",
    }
)

# For the timeline: the outages of a user's sources, each with the last position that it reaches.
ENTRIES: LiteralString = """
SELECT position, coalesce(last_position, 9223372036854775807) AS reaches,
       convert_to(json_build_object(
           'kind', CASE WHEN node = '' THEN 'source_dark' ELSE 'node_down' END, 'position', position,
           'last_position', coalesce(last_position, position), 'at', instant_text(at), 'until', instant_text(until),
           'source', source, 'node', nullif(node, ''), 'reason', reason, 'ended_by', ended_by)::text, 'UTF8') AS entry
  FROM in_doubt
 WHERE source IN (SELECT split_part(token, '/', 1)
                    FROM current, LATERAL string_to_table(btrim(devices), ' ') AS token WHERE uid = %(uid)s)
"""

_OPEN = "SELECT source, position, node, at, reason FROM in_doubt WHERE last_position IS NULL"

_WRITE = """
INSERT INTO in_doubt (source, position, node, at, until, reason, ended_by, last_position)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (source, position, node) DO UPDATE
   SET until = excluded.until, ended_by = excluded.ended_by, last_position = excluded.last_position
"""


class _Outage(msgspec.Struct):
    """A row of the table."""

    source: str
    position: int
    node: str
    at: Instant
    until: Instant | None
    reason: str
    ended_by: str | None = None
    last_position: int | None = None


class Outages:
    """Follows what begins and ends outages; its state are the rows of those that are not over."""

    name = "outages"
    tables: Sequence[str] = ("in_doubt",)
    kinds = KINDS

    def handle(self, cursor: Cursor[Any], events: Sequence[Followed], memory: Memory) -> None:
        """Write the outages that these events of sources begin and end."""
        if events:
            _write(cursor, events)


PROJECTION = Outages()


def _write(cursor: Cursor[Any], events: Sequence[Followed]) -> None:
    still_open = {
        (source, node): _Outage(source, position, node, at, None, reason)
        for source, position, node, at, reason in cursor.execute(_OPEN).fetchall()
    }
    changed: dict[tuple[str, int, str], _Outage] = {}
    for followed in events:
        event = cast(SourceEvent, followed.event)
        name = followed.stream.removeprefix(SOURCE_PREFIX)
        before = {node: row.at for (source, node), row in still_open.items() if source == name}
        after = outages_after(name, before, event, followed.position)
        for node in after.keys() - before.keys():
            row = _Outage(name, followed.position, node, after[node], None, reason_of(event))
            still_open[name, node] = changed[name, row.position, node] = row
        for node in before.keys() - after.keys():
            row = still_open.pop((name, node))
            row.until, row.ended_by, row.last_position = told_at(followed), ended_by(event), followed.position
            changed[name, row.position, node] = row
    for row in changed.values():
        cursor.execute(_WRITE, msgspec.structs.astuple(row))


def outages_after(name: str, before: Mapping[str, Instant], event: SourceEvent, position: int) -> dict[str, Instant]:
    """The outages after an event: since when, by node; the source itself is ''."""
    nodes = {node: NodeState(down_since=since) for node, since in before.items() if node}
    profiles = dict.fromkeys(nodes, Profile.V2_2)
    state = SourceState(name, nodes=nodes, node_profiles=profiles, dark_since=before.get(""))
    state = evolve_source(state, event, position)
    after = {node: known.down_since for node, known in state.nodes.items() if known.down_since is not None}
    return after if state.dark_since is None else {**after, "": state.dark_since}


def told_at(followed: Followed) -> Instant:
    """When what the event ends was over."""
    event = followed.event
    if isinstance(event, Configured | NodeSettled | SourceLit):
        return event.at
    return from_datetime(followed.recorded_at)


def reason_of(event: SourceEvent) -> str:
    """Why an outage began, by the event that tells of it."""
    match event:
        case NodeDown():
            return event.reason
        case NodeBooted():
            return "booted"
        case SourceDark():
            return "silent"
        case _:
            return "imported"


def ended_by(event: SourceEvent) -> str:
    """What ended it."""
    match event:
        case SourceLit():
            return event.by
        case NodeSettled():
            return "swept" if event.booted else "answers"
        case _:
            return "retired"
