"""Lists and counts over the projection `current`: by status, device flag, source and node."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, LiteralString, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from ledger.domain.observation import SECOND, Instant
from ledger.domain.source import SourceState
from ledger.domain.status import longest_grace
from ledger.store import seals
from ledger.working_state import canaries, watch_lists
from projections.models.shown import AnswerPoint

HEAD: LiteralString = f"""
SELECT coalesce(max(position), 0), coalesce(max((extract(epoch FROM recorded_at) * 1000000)::bigint), 0),
       coalesce((SELECT max(rules_position) FROM source_states), 0)
  FROM ({seals.HEAD}) AS last
"""  # noqa: S608  (of constants)
"""One row, a LedgerHead; `recorded_at` in microseconds, exactly."""

_LIST: LiteralString = """
SELECT uid, state, (SELECT max(verified_at) FROM looks WHERE looks.uid = current.uid)
  FROM current WHERE NOT {}
""".format(canaries.IS_CANARY.format("current.uid"))  # noqa: S608  (of constants)

# Of a raw status, with those apart who may be shown otherwise: a grace period does not show their offline yet, or an
# operator's word is about them.
_STATUSES: LiteralString = """
SELECT status, count(*) FROM {}
 WHERE (status = 'online' OR since <= %(cutoff)s) AND override_until IS NULL GROUP BY status
"""

# Of those that are shown by their rows, users with a device in doubt who are online nowhere else.
_DOUBTED: LiteralString = """
SELECT status, count(*)
  FROM {}
 WHERE (status = 'online' OR since <= %(cutoff)s) AND override_until IS NULL AND devices ~ %(doubtful)s
   AND regexp_replace(devices, %(doubted)s, ' ', 'g') !~ '/on/'
 GROUP BY status
"""

_DEVICES: LiteralString = """
SELECT token, count(*)
  FROM {}, LATERAL string_to_table(btrim(devices), ' ') AS token
 WHERE status = 'online' AND token LIKE '%%/on/%%'
 GROUP BY token
"""

_OTHERWISE: LiteralString = """
SELECT state FROM {} WHERE ((status = 'offline' AND since > %(cutoff)s) OR override_until IS NOT NULL)
"""

_NEVER_OBSERVED: LiteralString = f"""
SELECT count(*) FROM ({watch_lists.MEMBERS}) AS members WHERE NOT EXISTS (SELECT FROM current WHERE uid = members.uid)
"""  # noqa: S608  (of constants)

_OF_LIST: LiteralString = f"(SELECT of_it.* FROM ({watch_lists.MEMBERS}) AS members JOIN current AS of_it USING (uid))"  # noqa: S608


_OF_CANARIES: LiteralString = f"(SELECT of_it.* FROM ({canaries.UIDS}) AS hidden JOIN current AS of_it USING (uid))"  # noqa: S608


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


class DevicesOnline(NamedTuple):
    """How many devices of a source and a device flag are online, by what this node told."""

    source: str
    device_flag: int | None
    node: str
    devices: int


class PresenceSummary(NamedTuple):
    """Counts as of a position: users by status, online devices by source, device flag and node, none in doubt."""

    made: AnswerPoint
    statuses: dict[str, int]
    devices: list[DevicesOnline]


def grace_cutoff(sources: Mapping[str, SourceState], now: Instant) -> Instant:
    """An offline that began later may not be shown yet: it is within the longest grace period of these sources."""
    return now - round(longest_grace(sources) * SECOND)


class DoubtPattern(NamedTuple):
    """Regular expressions over `current.devices`, of devices in doubt: any of a dark source's, and of a node that is
    down those that are online there; of the latter alone, and of the former's, those online."""

    any: str
    online: str


def doubt_pattern(sources: Mapping[str, SourceState]) -> DoubtPattern | None:
    """What the devices in doubt look like; None where there are none.

    Who was connected to a node of a cluster that counts together is not in the row: such users are taken as they stand.
    """
    found, online = list[str](), list[str]()
    for name, source in sources.items():
        token = f" {re.escape(name)}/[0-9]*/"
        if source.dark_since is not None:
            found.append(token)
            online.append(f"{token}on/[^ ]*")
        elif down := _nodes_in_doubt(source):
            there = f"{token}on/({'|'.join([re.escape(node) for node in down])})(?= )"
            found.append(there)
            online.append(there)
    return DoubtPattern("|".join(found), "|".join(online)) if found else None


def without_doubt(counted: list[DevicesOnline], sources: Mapping[str, SourceState]) -> list[DevicesOnline]:
    """Those that are shown online: none of a dark source, nor of a node that is down."""
    dark = {name for name, source in sources.items() if source.dark_since is not None}
    down = {(name, node) for name, source in sources.items() for node in _nodes_in_doubt(source)}
    return [each for each in counted if each.source not in dark and (each.source, each.node) not in down]


def _nodes_in_doubt(source: SourceState) -> list[str]:
    """The nodes that are down, if those who are connected to them are known by what they told."""
    if not source.holders_known:
        return []
    return [name for name, node in source.nodes.items() if node.down_since is not None]


def unknown_pattern(sources: Mapping[str, SourceState]) -> str | None:
    """What `current.devices` of whoever may be unknown for their devices matches, and of few others; None: nobody may.

    Wider than `doubt_pattern`: it leaves nobody out, neither where a cluster counts together nor where a session may be
    held by a node that did not tell of it.
    """
    found = []
    for name, source in sources.items():
        if source.dark_since is None and all(node.down_since is None for node in source.nodes.values()):
            continue
        # Where holders are known, a node that is down leaves no offline in doubt.
        state = "on/" if source.dark_since is None and source.holders_known else ""
        found.append(f" {re.escape(name)}/[0-9]*/{state}")
    return "|".join(found) if found else None


async def page(
    connection: AsyncConnection[TupleRow],
    wanted: Filter,
    after: str | None,
    limit: int,
    sources: Mapping[str, SourceState],
    now: Instant,
) -> list[tuple[str, bytes, Instant | None]]:
    """A page of (uid, state, last look that agreed) that may match; the status shown is for the caller to check."""
    query, params = _LIST, list[Any]()
    cutoff = grace_cutoff(sources, now)
    if after is not None:
        query += " AND uid > %s"
        params.append(after)
    if wanted.status == "online":
        query += " AND (status = 'online' OR since > %s OR override_until IS NOT NULL)"
        params.append(cutoff)
    elif wanted.status == "offline":
        query += " AND (status = 'offline' OR override_until IS NOT NULL)"
    elif wanted.status == "unknown":
        doubtful = unknown_pattern(sources)
        query += " AND (status = 'unknown'" + ("" if doubtful is None else " OR devices ~ %s") + ")"
        params += [] if doubtful is None else [doubtful]
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


class Counted:
    """What there is to count of everybody but canaries, or of a watch list."""

    def __init__(self, connection: AsyncConnection[TupleRow], watch_list: str | None) -> None:
        self._connection = connection
        self._params = {"list": watch_list}
        self._is_list = watch_list is not None
        self._users: LiteralString = "current" if watch_list is None else f"{_OF_LIST} AS current"

    async def statuses(self, cutoff: Instant) -> dict[str, int]:
        """Users by raw status, without those who may be shown otherwise."""
        return await self._counts(_STATUSES, cutoff)

    async def in_doubt(self, cutoff: Instant, doubted: DoubtPattern) -> dict[str, int]:
        """How many of these are unknown instead, by the raw status."""
        return await self._counts(_DOUBTED, cutoff, doubtful=doubted.any, doubted=doubted.online)

    async def states_otherwise(self, cutoff: Instant) -> list[bytes]:
        """The states of users who may be shown otherwise: in their grace period, or by an operator's word."""
        no_canaries = "" if self._is_list else f" AND NOT {canaries.IS_CANARY.format('current.uid')}"
        return [state for (state,) in await self._rows(_OTHERWISE.format(self._users) + no_canaries, cutoff)]

    async def never_observed(self) -> int:
        """How many on the list are in no row."""
        if not self._is_list:
            return 0
        [(number,)] = await self._rows(_NEVER_OBSERVED)
        assert isinstance(number, int)
        return number

    async def devices_online(self) -> list[DevicesOnline]:
        """Devices by each combination of source, device flag and node that is online, those in doubt among them."""
        found = []
        for token, number in (await self._counts(_DEVICES)).items():
            source, flag, _, node = token.split("/")
            found.append(DevicesOnline(source, int(flag) if flag else None, node, number))
        return found

    async def _counts(self, query: LiteralString, cutoff: Instant = 0, **patterns: str) -> dict[str, int]:
        """Numbers by what is counted. Canaries, who are few, are taken off: to pass each of them over takes longer."""
        found: Counter[str] = Counter(dict(await self._rows(query.format(self._users), cutoff, **patterns)))
        if not self._is_list:
            found -= Counter(dict(await self._rows(query.format(f"{_OF_CANARIES} AS current"), cutoff, **patterns)))
        return dict(found)

    async def _rows(self, query: LiteralString, cutoff: Instant = 0, **patterns: str) -> list[TupleRow]:
        cursor = self._connection.cursor(binary=True)
        return await (await cursor.execute(query, {**self._params, "cutoff": cutoff, **patterns})).fetchall()
