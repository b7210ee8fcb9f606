"""Each change of what is shown of users in a stretch of the ledger, none left out: by events, and by time between."""

from collections.abc import Iterator, Mapping
from typing import LiteralString, NamedTuple, cast

from ledger.changes.moment import Moment
from ledger.changes.step import Previous
from ledger.domain.event_types import UserEvent
from ledger.domain.evolve import evolve
from ledger.domain.observation import Instant
from ledger.domain.presence import Presence
from ledger.domain.status import next_change_at
from ledger.domain.visible import Visible, visible_at
from ledger.store.mapper import EventMapper
from ledger.working_state.sinks import SinkCheckpoint
from projections.models.shown import AnswerPoint, Rules, shown_body, verified
from projections.queries import history
from projections.queries.rule_folds import RuleFolds

_NEXT_RULES: LiteralString = """
SELECT min(position) FROM events
 WHERE kind IN ('configured.v1', 'node_down.v1', 'node_booted.v1', 'node_settled.v1', 'source_dark.v1',
                'source_lit.v1', 'source_imported.v1')
   AND position > %s AND position <= %s
"""

_EVENTS: LiteralString = """
SELECT position, substr(stream, 6), (extract(epoch FROM recorded_at) * 1000000)::bigint, kind, payload FROM events
 WHERE position > %s AND position <= %s AND stream LIKE 'user:%%' ORDER BY position
"""


class ShownFrom(NamedTuple):
    """A user is shown otherwise from `made` on; `body` is the answer then but for its `as_of`."""

    uid: str
    body: bytes
    made: AnswerPoint
    previous: Previous
    visible: Visible


class Trail(NamedTuple):
    """The changes up to a position, in its order."""

    changes: list[ShownFrom]
    up_to: int
    presences: Mapping[str, Presence]
    """Of those of whom it tells, as they were then."""


class _Event(NamedTuple):
    position: int
    uid: str
    recorded_at: Instant
    kind: str
    payload: bytes


def read(moment: Moment, mapper: EventMapper, folds: RuleFolds, since: SinkCheckpoint, limit: int) -> Trail:
    """The changes after a checkpoint in at most so many positions, which end where the rules change."""
    up_to = _end(moment, since.position, min(moment.made.position, since.position + limit))
    rows = moment.connection.cursor(binary=True).execute(_EVENTS, (since.position, up_to)).fetchall()
    events = [_Event(*row) for row in rows]
    if not events:
        return Trail([], up_to, {})
    rules = history.rules_at(moment.connection, mapper, since.position, folds=folds)
    uids = sorted({each.uid for each in events})
    presences = history.presences_at(moment.connection, mapper, uids, since.position) if since.position else {}
    changes: list[ShownFrom] = []
    placed = dict.fromkeys(uids, since.position)
    for each in events:
        before = presences.get(each.uid) or Presence(each.uid)
        changes += _ended(before, rules, since.at, AnswerPoint(each.recorded_at, placed[each.uid]))
        event = cast(UserEvent, mapper.event_at(each.position, each.kind, each.payload))
        after = presences[each.uid] = evolve(before, event, each.position)
        placed[each.uid] = each.position
        changes += _changed(before, after, rules, AnswerPoint(each.recorded_at, each.position))
    return Trail(sorted(changes, key=lambda change: (change.made.position, change.made.at)), up_to, presences)


def _end(moment: Moment, after: int, up_to: int) -> int:
    """A stretch has the same rules from its begin on: it ends before they change, or with that change alone."""
    row = moment.connection.execute(_NEXT_RULES, (after, up_to)).fetchone()
    changed_at: int | None = row[0] if row else None
    if changed_at is None:
        return up_to
    return changed_at if changed_at == after + 1 else changed_at - 1


def _ended(presence: Presence, rules: Rules, told: Instant, until: AnswerPoint) -> Iterator[ShownFrom]:
    """What time alone changed before an event, unless it has been told: an override ends, then a grace period."""
    end = next_change_at(presence, rules.sources, told)
    while end is not None and end <= until.at:
        yield from _changed(presence, presence, rules, AnswerPoint(end, until.position), end - 1)
        end = next_change_at(presence, rules.sources, end)


def _changed(
    before: Presence, after: Presence, rules: Rules, made: AnswerPoint, before_at: Instant | None = None
) -> Iterator[ShownFrom]:
    was = visible_at(before, rules.sources, made.at if before_at is None else before_at)
    now = visible_at(after, rules.sources, made.at)
    if was != now:
        body = shown_body(after, rules, made.at) + verified(None, after.version)
        yield ShownFrom(after.uid, body, made, Previous(was.status, was.since), now)
