"""Reading presences while the service runs: small questions that wait at the same time share one fresh query."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import LiteralString, NamedTuple

from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from ledger.domain.observation import Instant
from ledger.domain.presence import Presence
from ledger.domain.status import derive
from ledger.errors import StoreBusy
from ledger.store.arrays import TextArray, texts
from ledger.store.ledger import translated
from ledger.working_state import looks, sources
from projections.engine import switch
from projections.models import current
from projections.models.shown import NEVER_SEEN, AnswerPoint, Rules, body, plain_body, rules_from, shown_body, verified
from projections.queries import listing
from projections.queries.listing import Filter, LedgerHead, PresenceSummary

MAX_SHARED_UIDS = 200
"""The most users that questions which share a query ask about together."""

MAX_SMALL_UIDS = 50
"""Whoever asks about more has a query of their own: others would wait for it."""

MIN_LARGE_UIDS = 200
"""So many at once are read by a thread: the event loop would wake for every few kilobytes that arrive."""

MAX_LARGE_READS = 2
"""So many at a time, over a connection each."""

LARGE_READ_TIMEOUT_SECONDS = 10.0
"""Requests that wait longer for their turn are refused: while PostgreSQL is away, each of those before fails slowly."""


class Read(NamedTuple):
    """Presences as the API shows them, each without its `as_of`, and what that is."""

    made: AnswerPoint
    bodies: list[bytes]
    stale_since: Instant | None = None
    """Of an answer from memory: nothing is known of what the ledger has learnt since."""


class _Question(NamedTuple):
    """A small question that waits for its answer."""

    uids: Sequence[str]
    answer: asyncio.Future[Read]


class PresenceListPage(NamedTuple):
    """A page of a list; `last_uid` is where the next one goes on, None at the end."""

    read: Read
    last_uid: str | None


class PresenceReader:
    """Reads of the table `current` from an event loop. Raises StoreUnavailable and SourceUnreadable."""

    def __init__(
        self,
        pool: AsyncConnectionPool[AsyncConnection[TupleRow]],
        large: ConnectionPool[Connection[TupleRow]],
        now: Callable[[], Instant],
    ) -> None:
        self._pool = pool
        self._large = large
        self._large_reads = asyncio.Semaphore(MAX_LARGE_READS)
        self._now = now
        self._rules = Rules(-1, {})
        self._waiting: deque[_Question] = deque()
        self._flushing: asyncio.Task[None] | None = None

    def forget(self) -> None:
        """The ledger went back: at the position of the rules that are known there may be others."""
        self._rules = Rules(-1, {})

    async def many(self, uids: Sequence[str]) -> Read:
        """The presences of users in the order asked, of one snapshot, which few share with others who ask meanwhile."""
        if 0 < len(uids) <= MAX_SMALL_UIDS:
            return await self._share(uids)
        made, found = await (self._query_large(uids) if len(uids) >= MIN_LARGE_UIDS else self._query(uids))
        return Read(made, _in_order(uids, found))

    async def _share(self, uids: Sequence[str]) -> Read:
        question = _Question(uids, asyncio.get_running_loop().create_future())
        self._waiting.append(question)
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        return await question.answer

    async def page(self, wanted: Filter, after: str | None, limit: int) -> PresenceListPage:
        """Users that match the filter, by uid after `after`; the page may be shorter than `limit` and not the last."""
        async with self._snapshot() as (connection, made):
            rules = self._rules
            rows = await listing.page(connection, wanted, after, limit, rules.sources, made.at)
        bodies = []
        for _, state, verified_at in rows:
            presence = current.decode_state(state)
            shown = derive(presence, rules.sources, made.at)
            if wanted.status in (None, shown.status):
                bodies.append(body(presence, shown, rules.sources) + verified(verified_at, presence.version))
        return PresenceListPage(Read(made, bodies), rows[-1][0] if len(rows) == limit else None)

    async def summary(self, watch_list: str | None = None) -> PresenceSummary:
        """Users and devices counted over all of `current`, or over a watch list, in one snapshot."""
        async with self._snapshot() as (connection, made):
            rules, counted = self._rules, listing.Counted(connection, watch_list)
            statuses = await self._statuses(counted, made.at)
            devices = listing.without_doubt(await counted.devices_online(), rules.sources)
            return PresenceSummary(made, statuses, devices)

    async def statuses(self) -> dict[str, int]:
        """Everybody who was ever observed, counted by the status shown."""
        async with self._snapshot() as (connection, made):
            return await self._statuses(listing.Counted(connection, None), made.at)

    async def _statuses(self, counted: listing.Counted, at: Instant) -> dict[str, int]:
        rules = self._rules
        cutoff = listing.grace_cutoff(rules.sources, at)
        statuses = Counter(await counted.statuses(cutoff))
        if (doubted := listing.doubt_pattern(rules.sources)) is not None:
            for status, users in (await counted.in_doubt(cutoff, doubted)).items():
                statuses[status] -= users
                statuses["unknown"] += users
        for state in await counted.states_otherwise(cutoff):
            statuses[derive(current.decode_state(state), rules.sources, at).status] += 1
        statuses["unknown"] += await counted.never_observed()
        return {status: users for status, users in statuses.items() if users}

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[tuple[AsyncConnection[TupleRow], AnswerPoint]]:
        """A connection in a transaction that sees one moment of the ledger, and which moment that is."""
        with translated():
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute(_ONE_MOMENT, prepare=False)
                row = await (await connection.execute(listing.HEAD)).fetchone()
                assert row is not None
                head = LedgerHead(*row)
                if head.rules_position != self._rules.position:
                    self._rules = await _read_rules(connection)
                yield connection, self._made(head)

    async def _flush(self) -> None:
        """Answer what waits, query after query, until nothing does."""
        try:
            while self._waiting:
                await self._answer(self._next_batch())
        finally:
            self._flushing = None

    def _next_batch(self) -> list[_Question]:
        batch = [self._waiting.popleft()]
        users = len(batch[0].uids)
        while self._waiting and (users := users + len(self._waiting[0].uids)) <= MAX_SHARED_UIDS:
            batch.append(self._waiting.popleft())
        return batch

    async def _answer(self, batch: list[_Question]) -> None:
        try:
            made, found = await self._query([uid for question in batch for uid in question.uids])
        except Exception as error:  # noqa: BLE001  (each waiting request gets it, and answers with its problem)
            for question in batch:
                if not question.answer.done():
                    question.answer.set_exception(error)
            return
        for question in batch:
            if not question.answer.done():
                question.answer.set_result(Read(made, _in_order(question.uids, found)))

    async def _query(self, uids: Sequence[str]) -> tuple[AnswerPoint, dict[str, bytes]]:
        """-> (what the answer was made at, body by uid of those who have a presence)"""
        asked = _storable(uids)
        with translated():
            async with self._pool.connection() as connection:
                cursor = connection.cursor(binary=True)
                while True:
                    rules = self._rules
                    query, derived = _choose_query(rules)
                    rows = await (await cursor.execute(query.looked, {"uids": asked, "derived": derived})).fetchall()
                    head = _take_head(rows)
                    if head.rules_position == rules.position:
                        return self._answers(head, rows, rules, None)
                    # The rules are newer than those that the query was chosen by.
                    self._rules = await _read_rules(connection)

    async def _query_large(self, uids: Sequence[str]) -> tuple[AnswerPoint, dict[str, bytes]]:
        """The same, the last looks being found at the same time: they are of no moment."""
        asked = _storable(uids)
        with translated():
            async with self.turn():
                (head, rows, rules), looked = await asyncio.gather(self._rows(asked), self._last_looks(asked))
        return self._answers(head, rows, rules, looked)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One of a few turns at reading many users by a thread. Raises StoreBusy after a while."""
        try:
            async with asyncio.timeout(LARGE_READ_TIMEOUT_SECONDS):
                await self._large_reads.acquire()
        except TimeoutError as error:
            raise StoreBusy("PostgreSQL does not keep up with questions about many users") from error
        try:
            yield
        finally:
            self._large_reads.release()

    async def _rows(self, asked: TextArray) -> tuple[LedgerHead, list[TupleRow], Rules]:
        """-> (the ledger's head, the users' rows, the rules that they are to be shown by)"""
        while True:
            rules = self._rules
            query, derived = _choose_query(rules)
            rows = await asyncio.to_thread(self._fetch, query.alone, {"uids": asked, "derived": derived})
            head = _take_head(rows)
            if head.rules_position == rules.position:
                return head, rows, rules
            async with self._pool.connection() as connection:
                self._rules = await _read_rules(connection)

    def _fetch(self, query: LiteralString, params: Mapping[str, TextArray]) -> list[TupleRow]:
        with self._large.connection() as connection:
            return connection.cursor(binary=True).execute(query, params).fetchall()

    async def _last_looks(self, asked: TextArray) -> dict[str, Instant]:
        async with self._pool.connection() as connection:
            cursor = connection.cursor(binary=True)
            return dict(await (await cursor.execute(looks.LAST_VERIFIED, (asked,))).fetchall())

    def _answers(
        self, head: LedgerHead, rows: Sequence[TupleRow], rules: Rules, looked: Mapping[str, Instant] | None
    ) -> tuple[AnswerPoint, dict[str, bytes]]:
        made = self._made(head)
        bodies = {}
        for _, _, _, uid, is_state, kept, version, last_look in rows:
            shown = shown_body(current.decode_state(kept), rules, made.at) if is_state else kept
            bodies[uid] = shown + verified(last_look if looked is None else looked.get(uid), version)
        return made, bodies

    def _made(self, head: LedgerHead) -> AnswerPoint:
        return AnswerPoint(max(self._now(), head.recorded_at), head.position)


def _take_head(rows: list[TupleRow]) -> LedgerHead:
    """Take the row of the head from among those of the users: the first one, as PostgreSQL goes about it."""
    number = next(number for number, row in enumerate(rows) if row[0] is not None)
    return LedgerHead(*rows.pop(number)[:3])


def _in_order(uids: Sequence[str], found: Mapping[str, bytes]) -> list[bytes]:
    return [found.get(uid) or _never_seen(uid) for uid in uids]


def _never_seen(uid: str) -> bytes:
    return plain_body(Presence(uid)) + NEVER_SEEN


_ONE_MOMENT = switch.ONE_MOMENT.format("current")

_NONE = current.like_tokens(())


def _storable(uids: Sequence[str]) -> TextArray:
    together = "".join(uids)
    if together.isascii() and "\0" not in together:
        return texts(uids)
    return texts([uid for uid in uids if current.can_be_stored(uid)])


def _choose_query(rules: Rules) -> tuple[current.StateQuery, TextArray]:
    """-> (the query that these rules need, of whom it is to bring the states): the bodies that are ready save half"""
    derived = rules.derived
    if not derived:
        return current.BODIES, _NONE
    if len(derived) == len(rules.sources):
        return current.STATES, _NONE
    return current.BOTH, current.like_tokens(derived)


async def _read_rules(connection: AsyncConnection[TupleRow]) -> Rules:
    rows = await (await connection.cursor(binary=True).execute(sources.READ_ALL)).fetchall()
    position = max((rules_position for *_, rules_position in rows), default=0)
    return rules_from(position, {name: sources.shown_by(name, version, state) for name, version, state, _ in rows})
