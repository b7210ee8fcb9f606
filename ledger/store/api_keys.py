"""Keeps the keys of the HTTP API: made at random, stored as SHA-256, never deleted but revoked.

A plain hash is enough, since a key is 32 random bytes: there is nothing to guess that a slow hash would protect.
"""

import hashlib
import re
import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg

from ledger.errors import LedgerError
from ledger.settings import SCOPES, with_implied

PREFIX = "plk_"
"""Lets a key that leaked be recognised as one of ours by a search of logs and repositories."""

ADMIN_KEY_NAME = "admin"
"""The name of the key that the first start makes."""

Connection = psycopg.Connection[Any]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class ApiKeyError(LedgerError):
    """A key cannot be made or revoked as asked: its name is bad, taken or unknown, or a scope is unknown."""


@dataclass(frozen=True)
class ApiKey:
    """A stored key, without the key itself; `scopes` as granted, in the order of `SCOPES`."""

    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None


def new_key() -> str:
    """Returns `plk_` and 32 random bytes as 43 characters."""
    return PREFIX + secrets.token_urlsafe(32)


def key_hash(key: str) -> bytes:
    """Returns the 32 bytes by which a key is known."""
    return hashlib.sha256(key.encode()).digest()


_INSERT = """
INSERT INTO api_keys (name, key_hash, scopes, may_watch) VALUES (%(name)s, %(key_hash)s, %(scopes)s, %(may_watch)s)
ON CONFLICT (name) DO NOTHING
"""

# To versions that do not know the scope `watch`, a key that has no other is one that may read.
_GRANTED: LiteralString = "CASE WHEN may_watch THEN scopes || 'watch'::text ELSE scopes END"


def create(connection: Connection, name: str, scopes: Iterable[str]) -> str:
    """Stores a new key of that name and returns it, which is the only time it can be seen. Raises ApiKeyError."""
    granted = _granted(scopes)
    if not _NAME.fullmatch(name):
        raise ApiKeyError(
            f"{name!r} is not a valid key name: use 1 to 64 ASCII letters, digits or . _ -, "
            "starting with a letter or digit."
        )
    key = new_key()
    may_watch = "watch" in granted
    scopes = [scope for scope in granted if scope != "watch"] or ["read"]
    values = {"name": name, "key_hash": key_hash(key), "scopes": scopes, "may_watch": may_watch}
    with connection.transaction():
        inserted = connection.execute(_INSERT, values).rowcount
    if not inserted:
        raise ApiKeyError(
            f"A key named {name!r} exists already, or existed and was revoked.\n"
            "Take another name: `presence-ledger keys list` shows them."
        )
    return key


_SELECT_ALL: LiteralString = f"SELECT name, {_GRANTED}, created_at, revoked_at FROM api_keys ORDER BY created_at, name"  # noqa: S608


def list_keys(connection: Connection) -> list[ApiKey]:
    """Returns every key ever made, oldest first, the revoked ones too."""
    return [
        ApiKey(name, tuple(_ordered(scopes)), created_at, revoked_at)
        for name, scopes, created_at, revoked_at in connection.execute(_SELECT_ALL)
    ]


_REVOKE = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE name = %(name)s RETURNING revoked_at"


def revoke(connection: Connection, name: str) -> datetime:
    """Refuses the key from now on and returns since when; revoking it again changes nothing. Raises ApiKeyError."""
    with connection.transaction():
        row = connection.execute(_REVOKE, {"name": name}).fetchone()
    if row is None:
        raise ApiKeyError(f"There is no key named {name!r}.\n`presence-ledger keys list` shows the existing ones.")
    revoked_at: datetime = row[0]
    return revoked_at


_SELECT_ACTIVE: LiteralString = f"SELECT key_hash, name, {_GRANTED} FROM api_keys WHERE revoked_at IS NULL"  # noqa: S608  (of constants)


def load_active(connection: Connection) -> dict[bytes, tuple[str, frozenset[str]]]:
    """Returns name and scopes, the included ones too, of each key that is accepted, by the key's hash."""
    return {bytes(digest): (name, with_implied(scopes)) for digest, name, scopes in connection.execute(_SELECT_ACTIVE)}


_SELECT_BY_HASH = "SELECT name FROM api_keys WHERE key_hash = %(key_hash)s"
_INSERT_ADMIN = """
INSERT INTO api_keys (name, key_hash, scopes) VALUES (%(name)s, %(key_hash)s, ARRAY['admin'])
ON CONFLICT DO NOTHING
"""


def ensure_admin(connection: Connection, key: str) -> str:
    """Stores the key of a data folder's `admin.key`, unless it is known, and returns the name it has.

    It is named `admin`, or `admin-` and the first digits of its hash where another data folder's has that name. One
    that was revoked stays so: make a new one by removing the file.
    """
    digest = key_hash(key)
    with connection.transaction():
        for name in (ADMIN_KEY_NAME, f"{ADMIN_KEY_NAME}-{digest.hex()[:12]}"):
            known = connection.execute(_SELECT_BY_HASH, {"key_hash": digest}).fetchone()
            if known is not None:
                return str(known[0])
            if connection.execute(_INSERT_ADMIN, {"name": name, "key_hash": digest}).rowcount:
                return name
    # Two instances with one data folder may store the same key at once: the other one's row is visible by now.
    known = connection.execute(_SELECT_BY_HASH, {"key_hash": digest}).fetchone()
    if known is None:
        raise ApiKeyError("The admin key could not be stored: its names are taken by other keys.")
    return str(known[0])


def _granted(scopes: Iterable[str]) -> list[str]:
    asked = set(scopes)
    if unknown := sorted(asked.difference(SCOPES)):
        raise ApiKeyError(f"Unknown scope {unknown[0]!r}; the scopes are {', '.join(SCOPES)}.")
    if not asked:
        raise ApiKeyError(f"A key needs a scope: {', '.join(SCOPES)}.")
    return _ordered(asked)


def _ordered(scopes: Collection[str]) -> list[str]:
    return [scope for scope in SCOPES if scope in scopes]
