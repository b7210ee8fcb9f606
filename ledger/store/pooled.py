"""Connections through a pooler that lends a session of the server for one transaction, as PgBouncer can.

What was set in a session is not there in the next transaction, or it is in somebody else's. So nothing is left in
one: each transaction is set as it is needed, a statement outside of one has one of its own, and no statement is
prepared. What holds a session (LISTEN, a lock beyond a transaction, a temporary table) is not for these connections.
"""

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple, Self

import psycopg
from psycopg import AsyncConnection, AsyncCursor, AsyncTransaction, Connection, Cursor, IsolationLevel, Transaction
from psycopg.abc import Params
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from ledger.store import session

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"


class Route(NamedTuple):
    """How the pools of an instance reach the database."""

    url: str
    settings: str = ""
    """What sets a transaction, where the pooler may give it any session; empty: each connection is a session."""

    @property
    def connection_class(self) -> type[Connection[TupleRow]]:
        return PooledConnection if self.settings else session.PinnedConnection

    @property
    def async_connection_class(self) -> type[AsyncConnection[TupleRow]]:
        return AsyncPooledConnection if self.settings else session.AsyncPinnedConnection

    @property
    def parameters(self) -> dict[str, Any]:
        """What to connect with besides the URL."""
        return {"settings": self.settings} if self.settings else {}


class PooledConnection(Connection[TupleRow]):
    """One for a thread, always in autocommit. `connect` raises psycopg.Error."""

    settings: str

    @classmethod
    def connect(cls, conninfo: str = "", *, autocommit: bool = True, **kwargs: Any) -> Self:
        settings = kwargs.pop("settings")
        connection = super().connect(conninfo, **_parameters(conninfo, kwargs), cursor_factory=PooledCursor)
        connection.settings = settings
        connection.isolation_level = IsolationLevel.READ_COMMITTED
        return connection

    @contextmanager
    def transaction(self, savepoint_name: str | None = None, force_rollback: bool = False) -> Iterator[Transaction]:
        is_outer = _is_idle(self)
        with super().transaction(savepoint_name, force_rollback) as transaction:
            if is_outer:
                Cursor(self).execute(self.settings.encode())
            yield transaction


class PooledCursor(Cursor[TupleRow]):
    """Its statements are each in a transaction that is set as it is needed."""

    def execute(
        self, query: Any, params: Params | None = None, *, prepare: bool | None = None, binary: bool | None = None
    ) -> Self:
        with self._in_transaction():
            return super().execute(query, params, prepare=prepare, binary=binary)

    def executemany(self, query: Any, params_seq: Iterable[Params], *, returning: bool = False) -> None:
        with self._in_transaction():
            super().executemany(query, params_seq, returning=returning)

    @contextmanager
    def _in_transaction(self) -> Iterator[None]:
        connection = self.connection
        if not _is_idle(connection):
            yield
            return
        assert isinstance(connection, PooledConnection)
        # One way to the server less than by `transaction`, which begins with a message of its own.
        Cursor(connection).execute(f"{_BEGIN}; {connection.settings}".encode())
        try:
            yield
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                connection.rollback()
            raise
        connection.commit()


class AsyncPooledConnection(AsyncConnection[TupleRow]):
    """The same for an event loop."""

    settings: str

    @classmethod
    async def connect(cls, conninfo: str = "", *, autocommit: bool = True, **kwargs: Any) -> Self:
        settings = kwargs.pop("settings")
        connection = await super().connect(conninfo, **_parameters(conninfo, kwargs), cursor_factory=AsyncPooledCursor)
        connection.settings = settings
        await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
        return connection

    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncIterator[AsyncTransaction]:
        is_outer = _is_idle(self)
        async with super().transaction(savepoint_name, force_rollback) as transaction:
            if is_outer:
                await AsyncCursor(self).execute(self.settings.encode())
            yield transaction


class AsyncPooledCursor(AsyncCursor[TupleRow]):
    """The same for an event loop."""

    async def execute(
        self, query: Any, params: Params | None = None, *, prepare: bool | None = None, binary: bool | None = None
    ) -> Self:
        async with self._in_transaction():
            return await super().execute(query, params, prepare=prepare, binary=binary)

    async def executemany(self, query: Any, params_seq: Iterable[Params], *, returning: bool = False) -> None:
        async with self._in_transaction():
            await super().executemany(query, params_seq, returning=returning)

    @asynccontextmanager
    async def _in_transaction(self) -> AsyncIterator[None]:
        connection = self.connection
        if not _is_idle(connection):
            yield
            return
        assert isinstance(connection, AsyncPooledConnection)
        await AsyncCursor(connection).execute(f"{_BEGIN}; {connection.settings}".encode())
        try:
            yield
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                await connection.rollback()
            raise
        await connection.commit()


def _parameters(url: str, given: dict[str, Any]) -> dict[str, Any]:
    # What `options` would set, of the URL or the environment, is set as in the sessions; a pooler may refuse it.
    return session.parameters(url, given) | {"autocommit": True, "prepare_threshold": None, "options": ""}


def _is_idle(connection: Connection[Any] | AsyncConnection[Any]) -> bool:
    return connection.info.transaction_status == TransactionStatus.IDLE
