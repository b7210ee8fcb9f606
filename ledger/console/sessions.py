"""Who is logged in: sessions in a table, so that every instance knows them; in the cookie only a random id."""

import asyncio
import hmac
import math
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

from psycopg import Connection

from ledger.http.auth import KeyRing, KnownKey
from ledger.http.fresh import Fresh
from ledger.store import console_sessions
from ledger.store.console_sessions import StoredSession

SESSION_SECONDS = 12 * 3600
"""A working day; then the key is asked for again."""
MISSED_SECONDS = 0.1
"""For an id that the table did not have it is read again, no more often than this."""

Connect = Callable[[], AbstractContextManager[Connection[Any]]]


class ConsoleSession(NamedTuple):
    """A session that is in force, and the key that it was made with."""

    id: str
    key_hash: bytes
    key: KnownKey

    @property
    def csrf(self) -> str:
        """What each change must bring along: only a page of ours can know it."""
        return hmac.digest(self.id.encode(), b"presence ledger console form", "sha256").hex()

    def may(self, scope: str) -> bool:
        """Whether its key has that scope."""
        return scope in self.key.scopes


class ConsoleSessions:
    """Begins, finds and ends sessions. While the store is away those last read stay in force."""

    def __init__(self, connect: Connect, keys: KeyRing) -> None:
        self._connect = connect
        self.keys = keys
        self._stored = Fresh(self._load)
        self._missed_at = -math.inf

    async def begin(self, key_hash: bytes, key_name: str) -> str:
        """-> the id of a new session, for the cookie. Raises StoreUnavailable."""
        made = secrets.token_urlsafe(32)
        await asyncio.to_thread(self._create, _hash(made), key_hash, key_name)
        self._stored.forget()
        return made

    async def find(self, given: str) -> ConsoleSession | None:
        """The session with that id; None once it or its key is no longer in force. Raises StoreUnavailable."""
        hashed = _hash(given)
        found = (await self._stored.get()).get(hashed)
        if found is None and time.monotonic() - self._missed_at > MISSED_SECONDS:
            # Perhaps another instance has begun it just now; but anybody can send any cookie.
            self._missed_at = time.monotonic()
            self._stored.forget()
            found = (await self._stored.get()).get(hashed)
        if found is None or found.expires_at <= datetime.now(UTC):
            return None
        key = await self.keys.find_by_hash(found.key_hash)
        return None if key is None else ConsoleSession(given, found.key_hash, key)

    async def end(self, session: ConsoleSession) -> None:
        """A logout, on all instances. Raises StoreUnavailable."""
        await asyncio.to_thread(self._delete, _hash(session.id))
        self._stored.forget()

    def _create(self, id_hash: bytes, key_hash: bytes, key_name: str) -> None:
        with self._connect() as connection:
            console_sessions.create(connection, id_hash, key_hash, key_name, SESSION_SECONDS)

    def _delete(self, id_hash: bytes) -> None:
        with self._connect() as connection:
            console_sessions.delete(connection, id_hash)

    def _load(self) -> Mapping[bytes, StoredSession]:
        with self._connect() as connection:
            return console_sessions.load(connection)


def _hash(given: str) -> bytes:
    return sha256(given.encode(errors="surrogatepass")).digest()
