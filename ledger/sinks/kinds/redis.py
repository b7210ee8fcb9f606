"""The kind `redis`: the presences of hot users at hand in a Redis, their changes, and up to where they are right.

Hot is who is online, on a list, or was asked about of late. Each change is written, whoever it is of; the value of one
who is not hot goes away by itself. What Redis has lost (it was flushed, restarted, or another server stands there now)
is filled again beside the changes, and until that is done the head stands still: it never says more than is true.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial

import structlog
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.settings import RedisSettings
from ledger.sinks.hot_values import HotValues, Value, Written, without_previous
from ledger.sinks.kind import Batch, ChangeOrder, Done, Head, Outcome, Retry, Surroundings, ToldChange
from ledger.sinks.redis_errors import Unusable
from ledger.store import identity
from ledger.working_state import sources, watch_list_record, watch_lists
from ledger.working_state.asked import Hearing
from projections.models import current

log = structlog.get_logger()

PAGE_USERS = 1_000
"""Filled at a time."""

REFRESH_SECONDS = 900.0
"""As often everything is written once more: of a value that Redis evicted, or that somebody deleted, nobody is told."""

LIST_CHANGES = 1_000
"""Looked through at a time."""

FORGOTTEN_SECONDS = 3600.0
"""So long nobody becomes hot by being asked about who was erased."""

AGAIN_SECONDS = 1.0
"""A presence ages: what Redis lacks when it is back, it is to have within seconds, however long it was away."""

NO_STREAM = Retry("Redis takes no stream of changes (XADD); values are written all the same", AGAIN_SECONDS)
OTHER_EPOCH = Retry("the ledger is another one than these changes are of", AGAIN_SECONDS)


class RedisKind:
    """One sink's Redis."""

    def __init__(
        self,
        sink: RedisSettings,
        surroundings: Surroundings,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._surroundings = surroundings
        self._monotonic = monotonic
        self._values = HotValues(sink.url, sink.prefix)
        self._run_id: str | None = None
        self._list_change: int | None = None
        self._hearing = Hearing()
        self._asked: OrderedDict[str, float] = OrderedDict()
        """When users were asked about, the longest ago first."""
        self._due: OrderedDict[str, None] = OrderedDict()
        """Who may have become hot, or may be no longer."""
        self._filled_at: float | None = None
        self._losses = 0
        """How often Redis may have lost what it was told, so that what is being filled has to be filled once more."""
        self._work: asyncio.Task[None] | None = None
        self._forgotten: dict[str, float] = {}
        """Who was erased of late, and when."""
        self._writing = asyncio.Lock()
        """Held from when users are read until they are written, and while somebody is forgotten."""

    @property
    def is_filled(self) -> bool:
        """Whether everybody who is hot has the right value, as far as has been told."""
        return self._filled_at is not None

    async def tell(self, batch: Batch) -> Outcome:
        """Write what has changed, and tell of it."""
        try:
            if self._run_id is None:
                await self._look()
            if erased := [each for each in batch.changes if each.erased]:
                await self._forget(erased)
                changes = [each for each in batch.changes if not each.erased or each.presence.version]
                return await self.tell(replace(batch, changes=[replace(each, erased=False) for each in changes]))
            if not batch.changes:
                return Done()
            written = await self._put(batch.changes, are_changes=True)
            if written in ("lost", "other"):
                if not await self._begin(batch.changes[0].order.epoch):
                    return OTHER_EPOCH
                written = await self._put(batch.changes, are_changes=True)
        except Unusable as error:
            return Retry(str(error), AGAIN_SECONDS)
        if written == "no stream":
            return NO_STREAM
        return Done() if written == "ok" else OTHER_EPOCH

    async def _forget(self, erased: Sequence[ToldChange]) -> None:
        """Remove whatever names these users, and tell those who listen that they are gone."""
        async with self._writing:
            for each in erased:
                self._asked.pop(each.uid, None)
                self._due.pop(each.uid, None)
                self._forgotten[each.uid] = self._monotonic()
            await self._values.forget({each.uid: each.body for each in erased})

    async def keep(self, head: Head) -> Outcome | None:
        """Write the head; see who has become hot, and whether Redis has lost anything."""
        try:
            await self._notice()
            await self._look()
            if self._work is not None and self._work.done():
                work, self._work = self._work, None
                work.result()
            if self._filled_at is None or self._monotonic() - self._filled_at > REFRESH_SECONDS or self._due:
                self._work = self._work or asyncio.create_task(self._catch_up())
            if self._filled_at is None:
                # It would say that what is there is right.
                return Done()
            if (written := await self._values.put_head(head.order)) != "ok":
                self._lost()
                if written == "other" and not await self._begin(head.order.epoch):
                    return OTHER_EPOCH
        except Unusable as error:
            # Whatever it was told last may be gone.
            self._lost()
            return Retry(str(error), AGAIN_SECONDS)
        return Done()

    async def close(self) -> None:
        """The term is over."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        await self._values.close()

    async def _look(self) -> None:
        """See whether this is the server that was told before."""
        run_id = await self._values.run_id()
        if run_id != self._run_id:
            if self._run_id is not None:
                log.info("redis_began_anew", sink=self._sink.name)
            self._run_id = run_id
            self._lost()

    async def _begin(self, epoch: str) -> bool:
        """Let an epoch hold if it is the ledger's, and fill everything again -> whether it is."""
        if await self._surroundings.read(identity.epoch) != epoch:
            return False
        await self._values.claim(epoch)
        self._lost()
        return True

    def _lost(self) -> None:
        self._filled_at = None
        self._losses += 1

    async def _notice(self) -> None:
        """Who was asked about, and who came to a list or left it."""
        heard, moved, self._list_change = await self._surroundings.read(self._news)
        now = self._monotonic()
        self._forgotten = {uid: at for uid, at in self._forgotten.items() if now - at < FORGOTTEN_SECONDS}
        # Whoever goes on asking about them does not bring them back; what they do does.
        heard -= self._forgotten.keys()
        for uid in heard:
            self._asked[uid] = now
            self._asked.move_to_end(uid)
        while self._asked and now - next(iter(self._asked.values())) > self._sink.hot_seconds:
            self._asked.popitem(last=False)
        if self._filled_at is not None or self._work is not None:
            self._due.update(dict.fromkeys([*heard, *moved]))

    def _news(self, connection: Connection[TupleRow]) -> tuple[set[str], set[str], int]:
        heard = self._hearing.take(connection)
        number = watch_list_record.head(connection) if self._list_change is None else self._list_change
        moved = set[str]()
        while found := watch_list_record.changes_since(connection, number, LIST_CHANGES):
            for name in {each.list for each in found if self._sink.list in ("", each.list)}:
                for uids in watch_list_record.moved_since(connection, name, number):
                    moved.update(uids)
            number = found[-1].number
        return heard, moved, number

    async def _catch_up(self) -> None:
        """Write what is missing: everything where it has to be, then whoever is due."""
        if self._filled_at is None or self._monotonic() - self._filled_at > REFRESH_SECONDS:
            await self._fill()
        while self._due:
            part = [self._due.popitem(last=False)[0] for _ in range(min(PAGE_USERS, len(self._due)))]
            try:
                await self._write(part)
            except BaseException:  # cancelled too: whoever was not written is still due
                self._due.update(dict.fromkeys(part))
                raise

    async def _fill(self) -> None:
        """Write everybody who is hot, then whoever has a value that is older."""
        losses, began = self._losses, self._monotonic()
        self._filled_at = None
        epoch = await self._surroundings.read(identity.epoch)
        await self._values.claim(epoch)
        since: ChangeOrder | None = None
        for source in (self._members, self._online):
            after: str | None = ""
            while after is not None:
                page = await self._surroundings.read(partial(source, after=after))
                written = await self._write(page)
                since = since or written
                after = page[-1] if len(page) == PAGE_USERS else None
        self._due.update(dict.fromkeys(self._asked))
        async for old in self._values.older_than(since):
            await self._write(old, expires_no_later=True)
        if losses == self._losses:
            self._filled_at = self._monotonic()
            log.debug("redis_filled", sink=self._sink.name, seconds=round(self._monotonic() - began, 3))

    async def _write(self, uids: Sequence[str], *, expires_no_later: bool = False) -> ChangeOrder | None:
        """Write what `GET` answers of these users -> as of when that is."""
        async with self._writing:
            told = await self._surroundings.answers(uids) if uids else ()
            if not told:
                return None
            if (written := await self._put(told, expires_no_later=expires_no_later)) != "ok":
                raise Unusable(f"Redis lost what was being written ({written})")
        return told[0].order

    def _members(self, connection: Connection[TupleRow], after: str) -> list[str]:
        if self._sink.list:
            return watch_lists.members_of(connection, self._sink.list, after, PAGE_USERS)
        return watch_lists.all_members_after(connection, after, PAGE_USERS)

    def _online(self, connection: Connection[TupleRow], after: str) -> list[str]:
        return current.online_after(connection, sources.longest_grace(connection), after, PAGE_USERS)

    async def _put(
        self, told: Sequence[ToldChange], *, are_changes: bool = False, expires_no_later: bool = False
    ) -> Written:
        """Write these users, each for as long as they are hot."""
        cold = [each.uid for each in told if each.presence.status != "online"]
        members = await self._surroundings.read(lambda connection: self._on_a_list(connection, cold)) if cold else ()
        now = self._monotonic()
        values = [
            Value(
                each.uid,
                without_previous(each.body),
                each.order,
                None if each.presence.status == "online" or each.uid in members else self._expires(each.uid, now),
                each.body if are_changes else b"",
                expires_no_later,
                expires_no_later or not (are_changes or each.presence.version or self._is_hot(each.uid, members)),
            )
            for each in told
        ]
        return await self._values.put(values)

    def _is_hot(self, uid: str, members: Collection[str]) -> bool:
        """Whether somebody who is not online is to have a value."""
        return uid in members or uid in self._asked

    def _expires(self, uid: str, now: float) -> float:
        """When the value of somebody goes away who is neither online nor on a list."""
        hot = self._sink.hot_seconds
        return hot if uid not in self._asked else max(hot, self._asked[uid] + 2 * hot - now)

    def _on_a_list(self, connection: Connection[TupleRow], uids: Iterable[str]) -> set[str]:
        lists = watch_lists.lists_of(connection, list(uids))
        return {uid for uid, names in lists.items() if not self._sink.list or self._sink.list in names}


def build(sink: RedisSettings, surroundings: Surroundings) -> RedisKind:
    """The way to this Redis."""
    return RedisKind(sink, surroundings)
