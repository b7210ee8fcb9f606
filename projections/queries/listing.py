"""Lists and counts over the projection `current`: by status, device flag, source and node."""

import re
from collections.abc import Mapping
from typing import Any, LiteralString, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from ledger.domain.observation import SECOND, Instant
from ledger.domain.source import SourceState
from ledger.domain.status import longest_grace
from projections.models import current
from projections.models.shown import AnswerPoint

HEAD: LiteralString = """
SELECT coalesce(max(position), 0), coalesce(max((extract(epoch FROM recorded_at) * 1000000)::bigint), 0),
       coalesce((SELECT max(rules_position) FROM source_states), 0)
  FROM (SELECT position, recorded_at FROM events ORDER BY position DESC LIMIT 1) AS last
"""
"""One row, a LedgerHead; `recorded_at` in microseconds, exactly."""

_LIST: LiteralString = """
SELECT uid, state, (SELECT max(verified_at) FROM looks WHERE looks.uid = current.uid) FROM current WHERE true
"""

# Of a raw status, with those apart whose offline a grace period may not show yet.
_STATUSES: LiteralString = """
SELECT status, count(*) FROM current WHERE status = 'online' OR since <= %s GROUP BY status
"""

_DEVICES: LiteralString = """
SELECT token, count(*)
  FROM current, LATERAL string_to_table(btrim(devices), ' ') AS token
 WHERE status = 'online' AND token LIKE '%%/on/%%'
 GROUP BY token
"""


class LedgerHead(NamedTuple):
    """The last position of the ledger, 0 while it is empty, when it was recorded, and the position of the rules."""

    position: int
    recorded_at: Instant
    rules_position: int


class Filter(NamedTuple):
    """What a list is narrowed to; None means any."""

    status: str | None
    device_flag: int | None
    source: str | None


class PresenceSummary(NamedTuple):
    """Counts as of a position: users by status, online devices by source, device flag and node."""

    made: AnswerPoint
    statuses: dict[str, int]
    devices: list[tuple[str, int | None, str, int]]


def grace_cutoff(sources: Mapping[str, SourceState], now: Instant) -> Instant:
    """An offline that began later may not be shown yet: it is within the longest grace period of these sources."""
    return now - round(longest_grace(sources) * SECOND)


async def page(
    connection: AsyncConnection[TupleRow], wanted: Filter, after: str | None, limit: int, cutoff: Instant
) -> list[tuple[str, bytes, Instant | None]]:
    """A page of (uid, state, last look that agreed) that may match; the status shown is for the caller to check."""
    query, params = _LIST, list[Any]()
    if after is not None:
        query += " AND uid > %s"
        params.append(after)
    if wanted.status == "online":
        query += " AND (status = 'online' OR since > %s)"
        params.append(cutoff)
    elif wanted.status == "offline":
        query += " AND status = 'offline'"
    if wanted.device_flag is not None or wanted.source is not None:
        query += " AND devices ~ %s"
        params.append(_pattern(wanted))
    params.append(limit)
    cursor = connection.cursor(binary=True)
    return await (await cursor.execute(query + " ORDER BY uid LIMIT %s", params)).fetchall()


def _pattern(wanted: Filter) -> str:
    """A regular expression over the tokens of `current.devices`."""
    source = "[^/ ]+" if wanted.source is None else re.escape(wanted.source)
    flag = "[0-9]*" if wanted.device_flag is None else str(wanted.device_flag)
    # Online there; where the offline is still in its grace period, its device is off already.
    return f" {source}/{flag}/{'(on|off)' if wanted.status != 'online' else 'on'}/"


async def statuses(connection: AsyncConnection[TupleRow], cutoff: Instant) -> dict[str, int]:
    """Users by raw status, without those in their grace period."""
    rows = await (await connection.execute(_STATUSES, (cutoff,))).fetchall()
    return dict(rows)


async def states_in_grace(connection: AsyncConnection[TupleRow], cutoff: Instant) -> list[bytes]:
    """The states of users whose offline may not be shown yet."""
    rows = await (await connection.cursor(binary=True).execute(current.IN_GRACE, (cutoff,))).fetchall()
    return [state for (state,) in rows]


async def devices_online(connection: AsyncConnection[TupleRow]) -> list[tuple[str, int | None, str, int]]:
    """(source, device flag, node, devices) for each combination that is online."""
    rows = await (await connection.execute(_DEVICES)).fetchall()
    found = []
    for token, number in rows:
        source, flag, _, node = token.split("/")
        found.append((source, int(flag) if flag else None, node, number))
    return found
