"""A presence reader on connections of its own."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from ledger.domain.observation import Instant
from ledger.ingest.clock import Clock
from projections.models.shown import AnswerPoint
from projections.queries.reader import MAX_LARGE_READS, PresenceReader

POOL_SECONDS = 30.0


async def one(reader: PresenceReader, uid: str) -> tuple[AnswerPoint, bytes]:
    """One user's body and what it was made at."""
    made, [body], _ = await reader.many((uid,))
    return made, body


@asynccontextmanager
async def reading(url: str, now: Callable[[], Instant] | None = None) -> AsyncIterator[PresenceReader]:
    """A reader whose clock is the machine's, or this one."""
    options: dict[str, Any] = {"timeout": POOL_SECONDS, "kwargs": {"autocommit": True}, "open": False}
    pool: AsyncConnectionPool[AsyncConnection[TupleRow]] = AsyncConnectionPool(url, min_size=1, max_size=2, **options)
    large: ConnectionPool[Connection[TupleRow]] = ConnectionPool(url, min_size=0, max_size=MAX_LARGE_READS, **options)
    async with pool:
        with large:
            yield PresenceReader(pool, large, now or Clock().now)
