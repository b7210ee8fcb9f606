"""Sessions of the console: made with an API key, known by the hash of their id; the one place that knows the table."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection


class StoredSession(NamedTuple):
    """A session that has not ended; `key_hash` is that of its API key, which may have been revoked meanwhile."""

    key_hash: bytes
    key_name: str
    expires_at: datetime


_INSERT = """
INSERT INTO console_sessions (id_hash, key_hash, key_name, expires_at)
VALUES (%(id_hash)s, %(key_hash)s, %(key_name)s, now() + make_interval(secs => %(seconds)s))
"""
_DELETE_EXPIRED = "DELETE FROM console_sessions WHERE expires_at <= now()"
_DELETE = "DELETE FROM console_sessions WHERE id_hash = %s"
_LOAD = "SELECT id_hash, key_hash, key_name, expires_at FROM console_sessions WHERE expires_at > now()"


def create(connection: Connection[Any], id_hash: bytes, key_hash: bytes, key_name: str, seconds: float) -> None:
    """Store a session of so many seconds, and forget those that have expired."""
    values = {"id_hash": id_hash, "key_hash": key_hash, "key_name": key_name, "seconds": seconds}
    with connection.transaction():
        connection.execute(_DELETE_EXPIRED)
        connection.execute(_INSERT, values)


def delete(connection: Connection[Any], id_hash: bytes) -> None:
    """End a session, if there is such a one."""
    connection.execute(_DELETE, (id_hash,))


def load(connection: Connection[Any]) -> Mapping[bytes, StoredSession]:
    """All sessions that have not expired, by the hash of their id."""
    return {bytes(row[0]): StoredSession(bytes(row[1]), row[2], row[3]) for row in connection.execute(_LOAD)}
