"""What a kind of sink may ask of the ledger, asked of a database at once; and a kind at work in it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.changes.feed import ChangeFeed
from ledger.domain.instants import to_text
from ledger.ingest.clock import Clock
from ledger.sinks.kind import Batch, ChangeOrder, Head, ToldChange
from ledger.store import identity
from projections.models.shown import AnswerPoint
from tests.support.following import connect

T = TypeVar("T")


class DirectSurroundings:
    """Over a connection of its own, in autocommit."""

    def __init__(self, url: str) -> None:
        self.connection: Connection[TupleRow] = connect(url)
        self._feed = ChangeFeed(Clock().now)
        self._turn = asyncio.Lock()

    async def read(self, function: Callable[[Connection[TupleRow]], T]) -> T:
        async with self._turn:
            return await asyncio.to_thread(function, self.connection)

    async def answers(self, uids: Sequence[str]) -> Sequence[ToldChange]:
        return await self.read(lambda connection: self._answers(connection, uids))

    def _answers(self, connection: Connection[TupleRow], uids: Sequence[str]) -> list[ToldChange]:
        epoch = identity.epoch(connection)
        found = self._feed.answers(connection, uids)
        return [told(uid, body, found.made, epoch) for uid, body in found.bodies]

    async def batch(self, *uids: str, remembered: Mapping[str, bytes] | None = None) -> Batch:
        """These users as they are now, as changes."""
        found = [as_change(each) for each in await self.answers(uids)] if uids else []
        return Batch("batch", found, remembered or {})

    async def head(self) -> Head:
        """Up to here everything has been told."""
        [found] = await self.answers(["nobody-in-particular"])
        return Head(found.order, 0)


def told(uid: str, body: bytes, made: AnswerPoint, epoch: str) -> ToldChange:
    """An answer with its end."""
    as_of = msgspec.json.encode({"at": to_text(made.at), "position": made.position, "epoch": epoch})
    return ToldChange(uid, b'%b,"as_of":%b}' % (body, as_of), ChangeOrder(epoch, made.position, made.at))


def as_change(each: ToldChange) -> ToldChange:
    """The same with what was shown before."""
    before = {"status": "offline", "since": None}
    body = msgspec.json.encode(msgspec.json.decode(each.body) | {"previous": before})
    return ToldChange(each.uid, body, each.order)
