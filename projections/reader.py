"""Reading presences while the service runs: single reads that wait at the same time share one fresh query."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from ledger.domain.observation import Instant
from ledger.domain.policy import DEFAULT_POLICY, Policy
from ledger.domain.presence import Presence
from ledger.domain.source import SourceState
from ledger.domain.status import derive
from ledger.store.ledger import translated
from projections import current, listing, sources
from projections.listing import Filter, Summary

SHARED_UIDS = 200
"""The most single reads that share a query."""


class Rules(NamedTuple):
    """What a status is derived from beside the presence itself: the sources' states, as of a position."""

    position: int
    sources: Mapping[str, SourceState]
    policy: Policy


class Read(NamedTuple):
    """Presences with the ledger's head in the same snapshot; a user never observed has version 0."""

    head: int
    rules: Rules
    presences: list[Presence]


class Page(NamedTuple):
    """A page of a list; `last_uid` is where the next one goes on, None at the end."""

    read: Read
    last_uid: str | None


class PresenceReader:
    """Reads of the table `current` from an event loop. Raises StoreUnavailable."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[TupleRow]]) -> None:
        self._pool = pool
        self._rules = Rules(-1, {}, DEFAULT_POLICY)
        self._waiting: list[tuple[str, asyncio.Future[tuple[int, Presence]]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def one(self, uid: str) -> Read:
        """One user's presence, in a query shared with whoever asks meanwhile."""
        future: asyncio.Future[tuple[int, Presence]] = asyncio.get_running_loop().create_future()
        self._waiting.append((uid, future))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        head, presence = await future
        return Read(head, self._rules, [presence])

    async def many(self, uids: Sequence[str]) -> Read:
        """The presences of many users in the order asked, all of one snapshot."""
        head, found = await self._query(uids)
        return Read(head, self._rules, [found.get(uid) or Presence(uid) for uid in uids])

    async def page(self, wanted: Filter, after: str | None, limit: int, now: Instant) -> Page:
        """Users that may match the filter, by uid after `after`; the status shown is for the caller to check."""
        if after is not None and not current.can_be_stored(after):
            after = None
        async with self._snapshot() as (connection, head):
            cutoff = listing.grace_cutoff(self._rules.policy, now)
            rows = await listing.page(connection, wanted, after, limit, cutoff)
        presences = [current.decode_state(state) for _, state in rows]
        return Page(Read(head, self._rules, presences), rows[-1][0] if len(rows) == limit else None)

    async def summary(self, now: Instant) -> Summary:
        """Users and devices counted over all of `current`, in one snapshot."""
        async with self._snapshot() as (connection, head):
            rules = self._rules
            cutoff = listing.grace_cutoff(rules.policy, now)
            statuses = await listing.statuses(connection, cutoff)
            for state in await listing.states_in_grace(connection, cutoff):
                status = derive(current.decode_state(state), rules.sources, rules.policy, now).status
                statuses[status] = statuses.get(status, 0) + 1
            return Summary(head, statuses, await listing.devices_online(connection))

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[tuple[AsyncConnection[TupleRow], int]]:
        """A connection in a transaction that sees one moment of the ledger, and the head of that moment."""
        with translated():
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                row = await (await connection.execute(listing.HEAD)).fetchone()
                assert row is not None
                if row[1] != self._rules.position:
                    self._rules = await _read_rules(connection, row[1])
                yield connection, row[0]

    async def _flush(self) -> None:
        """Answer what waits, query after query, until nothing does."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:SHARED_UIDS], self._waiting[SHARED_UIDS:]
                await self._answer(batch)
        finally:
            self._flushing = None

    async def _answer(self, batch: list[tuple[str, asyncio.Future[tuple[int, Presence]]]]) -> None:
        try:
            head, found = await self._query([uid for uid, _ in batch])
        except Exception as error:  # noqa: BLE001  (each waiting request gets it, and answers with its problem)
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for uid, future in batch:
            if not future.done():
                future.set_result((head, found.get(uid) or Presence(uid)))

    async def _query(self, uids: Sequence[str]) -> tuple[int, dict[str, Presence]]:
        askable = [uid for uid in uids if current.can_be_stored(uid)]
        with translated():
            async with self._pool.connection() as connection:
                cursor = connection.cursor(binary=True)
                rows = await (await cursor.execute(current.READ, (askable,))).fetchall()
                head, rules_position = rows[0][0], rows[0][1]
                if rules_position != self._rules.position:
                    self._rules = await _read_rules(connection, rules_position)
        return head, {row[2]: current.decode_state(row[3]) for row in rows if row[2] is not None}


async def _read_rules(connection: AsyncConnection[TupleRow], position: int) -> Rules:
    rows = await (await connection.cursor(binary=True).execute(sources.READ_ALL)).fetchall()
    states = {name: sources.decode_snapshot(name, version, state) for name, version, state in rows}
    policies = [state.policy for state in states.values()]
    return Rules(position, states, policies[0] if policies else DEFAULT_POLICY)
