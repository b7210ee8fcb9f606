"""The projection `timeline`: the story of each user, with the outages of their sources; its table."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple, cast

import msgspec
from psycopg import AsyncConnection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.event_types import UserEvent
from ledger.domain.events import WebhookObserved
from ledger.domain.observation import Instant
from ledger.store.arrays import bigints, byteas, texts
from ledger.store.mapper import USER_KINDS
from projections.engine import checkpoints
from projections.engine.projection import Followed
from projections.models import drifts, outages
from projections.models.entries import Entry
from projections.models.entry_making import entry_for
from projections.models.repeats import UNCHANGED, Fold, Repeats, begun, changes_nothing

# The last entry of each of these users.
_LAST = """
SELECT asked.uid, t.position, t.kind, t.at, t.until, t.entry
  FROM unnest(%b::text[]) AS asked (uid)
 CROSS JOIN LATERAL (SELECT position, kind, at, until, entry FROM timeline
                      WHERE uid = asked.uid ORDER BY position DESC LIMIT 1) AS t
"""

_WRITE = """
INSERT INTO timeline (uid, position, last_position, kind, at, until, entry)
SELECT * FROM unnest(%b::text[], %b::bigint[], %b::bigint[], %b::text[], %b::bigint[], %b::bigint[], %b::bytea[])
    ON CONFLICT (uid, position) DO UPDATE
   SET last_position = excluded.last_position, at = excluded.at, until = excluded.until, entry = excluded.entry
"""

# A page is put together by PostgreSQL: entries are JSON already. Of the entries before an instant only the last one can
# reach beyond it. Drifts and outages are shown as far as the timeline itself has come; where several have one position,
# which an imported source's may, they go onto one page.
_PAGE: LiteralString = """
WITH place AS MATERIALIZED (
    SELECT {up_to} AS up_to, {drift} AS drift, head, known,
           coalesce(position_at(%(since)s::timestamptz - interval '1 microsecond'), 0) AS lower,
           coalesce(position_at(%(until)s::timestamptz - interval '1 microsecond'), {up_to}) AS upper
      FROM (SELECT {head} AS head,
                   (SELECT position FROM timeline WHERE uid = %(uid)s ORDER BY position LIMIT 1) AS known) AS ends
)
SELECT place.up_to, place.drift, place.head, page.number, page.last, page.items
  FROM place
 CROSS JOIN LATERAL (
     SELECT count(*) AS number, {last}(position) AS last, string_agg(entry, ',' ORDER BY position {order}) AS items
       FROM (SELECT position, entry
               FROM ((SELECT position, entry FROM timeline
                       WHERE uid = %(uid)s AND position {beyond} %(after)s AND position <= place.upper
                         AND position >= coalesce((SELECT position FROM timeline
                                                    WHERE uid = %(uid)s AND position <= place.lower
                                                    ORDER BY position DESC LIMIT 1), 0)
                         AND last_position > place.lower
                       ORDER BY position {order} LIMIT %(limit)s)
                     UNION ALL
                     (SELECT position, entry FROM ({drifts}) AS d
                       WHERE position {beyond} %(after)s AND position <= least(place.up_to, place.upper)
                         AND reaches > place.lower
                       ORDER BY position {order} LIMIT %(limit)s)
                     UNION ALL
                     (SELECT position, entry FROM ({outages}) AS d
                       WHERE position {beyond} %(after)s AND position <= least(place.up_to, place.upper)
                         AND reaches > greatest(place.lower, place.known)
                         AND place.known IS NOT NULL
                       ORDER BY position {order} FETCH FIRST %(limit)s ROWS WITH TIES)) AS parts
              ORDER BY position {order} FETCH FIRST %(limit)s ROWS WITH TIES) AS merged
     ) AS page
"""
_PARTS = {
    "up_to": checkpoints.POSITION_OF.format("timeline"),
    "head": checkpoints.HEAD,
    "drift": checkpoints.POSITION_OF.format("drift"),
    "drifts": drifts.ENTRIES,
    "outages": outages.ENTRIES,
}
_ASCENDING = _PAGE.format(beyond=">", order="ASC", last="max", **_PARTS)
_DESCENDING = _PAGE.format(beyond="<", order="DESC", last="min", **_PARTS)

_BEYOND_ALL = 2**63 - 1

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Repeats).decode


class Timeline:
    """Follows users' events, and the outages of their sources."""

    name = "timeline"
    tables: Sequence[str] = ("timeline", outages.TABLE)
    kinds = USER_KINDS | outages.KINDS

    def handle(self, cursor: Cursor[Any], events: Sequence[Followed]) -> None:
        """Write the entries that these events begin or go on."""
        of_sources = [event for event in events if event.uid is None]
        if of_sources:
            outages.handle(cursor, of_sources)
        of_users = [event for event in events if event.uid is not None]
        if of_users:
            _write(cursor, _rows(of_users, _last_folds(cursor, of_users)))


PROJECTION = Timeline()


class _EntryRow(NamedTuple):
    """A row on its way into the table; `entry` is complete, or of a fold that may still grow."""

    uid: str
    position: int
    entry: Entry | Fold
    at: Instant


def _last_folds(cursor: Cursor[Any], events: Iterable[Followed]) -> dict[str, _EntryRow]:
    """By user, the folds that the first of these events may go on with."""
    first: dict[str, UserEvent] = {}
    for event in events:
        first.setdefault(cast(str, event.uid), cast(UserEvent, event.event))
    asked = [uid for uid, event in first.items() if changes_nothing(event)]
    if not asked:
        return {}
    rows = cursor.execute(_LAST, (texts(asked),), binary=True).fetchall()
    return {
        uid: _EntryRow(uid, position, Fold(at, until, _decode(entry)), at)
        for uid, position, kind, at, until, entry in rows
        if kind in UNCHANGED
    }


def _rows(events: Iterable[Followed], last: dict[str, _EntryRow]) -> Iterable[_EntryRow]:
    """The entries that are new or have grown; `last` is used up."""
    rows: dict[tuple[str, int], _EntryRow] = {}
    for followed in events:
        uid, position, event = cast(str, followed.uid), followed.position, cast(UserEvent, followed.event)
        if not changes_nothing(event):
            last.pop(uid, None)
            rows[uid, position] = _EntryRow(uid, position, entry_for(position, event), event.received_at)
            continue
        row, observed = last.get(uid), cast(WebhookObserved, event)
        if row is not None and isinstance(row.entry, Fold) and row.entry.goes_on(observed):
            row.entry.extend(position, observed)
        else:
            row = last[uid] = _EntryRow(uid, position, begun(position, observed), event.received_at)
        rows[uid, row.position] = row
    return rows.values()


def _write(cursor: Cursor[Any], rows: Iterable[_EntryRow]) -> None:
    uids, positions, last_positions, begins, ends, entries = [], [], [], [], [], []
    kinds: list[str] = []
    for uid, position, entry, at in rows:
        uids.append(uid)
        positions.append(position)
        if isinstance(entry, Fold):
            last_positions.append(entry.repeats.last_position)
            kinds.append(entry.repeats.kind)
            begins.append(entry.at)
            ends.append(entry.until)
            entries.append(_encode(entry.repeats))
        else:
            last_positions.append(position)
            kinds.append(entry.kind)
            begins.append(at)
            ends.append(at)
            entries.append(_encode(entry))
    packed = bigints(positions), bigints(last_positions), texts(kinds), bigints(begins), bigints(ends)
    cursor.execute(_WRITE, (texts(uids), *packed, byteas(entries)))


class TimelineQuery(NamedTuple):
    """A page: beyond a position, in one direction, between the instants at which events were recorded."""

    after: int | None
    limit: int
    descending: bool = False
    since: datetime | None = None
    until: datetime | None = None


class TimelineEntries(NamedTuple):
    """Entries as JSON, with commas between them; `last` is the position that the page ends at.

    Everything up to `position` is in it; `lag` events were recorded since.
    """

    items: bytes
    number: int
    last: int | None
    position: int
    lag: int


async def page(connection: AsyncConnection[TupleRow], uid: str, wanted: TimelineQuery) -> TimelineEntries:
    """A page of a user's story. A uid that can be stored is asked for."""
    after = wanted.after
    if after is None:
        after = _BEYOND_ALL if wanted.descending else 0
    params = {"uid": uid, "after": after, "limit": wanted.limit, "since": wanted.since, "until": wanted.until}
    cursor = connection.cursor(binary=True)
    row = await (await cursor.execute(_DESCENDING if wanted.descending else _ASCENDING, params)).fetchone()
    assert row is not None
    up_to, drift, head, number, last, items = row
    position = min(up_to, drift)
    return TimelineEntries(items or b"", number, last, position, head - position)
