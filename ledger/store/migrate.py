"""Brings the schema up to date: numbered plain SQL files, forward only, one transaction a file."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import psycopg

from ledger.database_url import setting_of
from ledger.errors import LedgerError, SchemaMismatch, StoreFull
from ledger.store import preflight, session
from ledger.store.preflight import Examined

NAME = re.compile(r"(?P<number>\d{4})_(?P<name>[a-z0-9_]+)\.sql")

# Any constant will do, as long as every version takes the same one: "presence" in ASCII.
LOCK_KEY = 0x70726573656E6365

LOCK = "SELECT pg_advisory_xact_lock(%s)"
CREATE_TABLE = """
CREATE TABLE schema_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""
# By a query and not by to_regclass, which may remember from before the lock was waited for that there was none.
TABLE_EXISTS = """
SELECT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                WHERE c.relname = 'schema_migrations' AND n.nspname = ANY(current_schemas(false)))
"""
READ_APPLIED = "SELECT number, name, sha256, applied_at FROM schema_migrations ORDER BY number"
ADD_APPLIED = "INSERT INTO schema_migrations (number, name, sha256) VALUES (%s, %s, %s)"


class MigrationFailed(LedgerError):
    """PostgreSQL refused a migration; its transaction was rolled back, so nothing of that file is in the schema."""


@dataclass(frozen=True)
class Migration:
    """One file `NNNN_name.sql`: its number from 1, its name, the hash of its text, and the text (UTF-8)."""

    number: int
    name: str
    sha256: str
    sql: bytes = field(repr=False, default=b"")

    def __str__(self) -> str:
        return f"{self.number:04d}_{self.name}"


@dataclass(frozen=True)
class Applied:
    """One row of `schema_migrations`."""

    number: int
    name: str
    sha256: str
    applied_at: datetime


def load(folder: Traversable | None = None) -> list[Migration]:
    """The migrations in `folder` (those of this version by default), in order; a gap or a double is a ValueError."""
    found = sorted(_read(folder or _ours()), key=lambda migration: migration.number)
    numbers = [migration.number for migration in found]
    if numbers != list(range(1, len(numbers) + 1)):
        raise ValueError(f"migrations are not numbered 1, 2, 3 …: {numbers}")
    return found


def apply(connection_url: str, ours: Sequence[Migration] | None = None) -> list[Migration]:
    """Apply what is missing, each file in a transaction of its own, and return what was applied by this call.

    Two calls at once wait for each other, so that each file is applied once. Raises before anything is changed
    `SchemaMismatch` and `DatabaseUnfit`, `MigrationFailed` when PostgreSQL refuses a file, `StoreUnavailable` when it
    does not answer.
    """
    ours = load() if ours is None else ours
    done: list[Migration] = []
    with _connected(connection_url) as connection:
        _examined(connection_url, connection, ours)
        while (migration := _apply_next(connection, ours)) is not None:
            done.append(migration)
    return done


def status(connection_url: str, ours: Sequence[Migration] | None = None) -> list[tuple[Migration, datetime | None]]:
    """Every migration of this version and of the database, in order, with the instant it was applied, or None."""
    ours = load() if ours is None else ours
    with _connected(connection_url) as connection:
        applied = _applied(connection)
    known = {migration.number for migration in ours}
    foreign = [Migration(row.number, row.name, row.sha256) for row in applied.values() if row.number not in known]
    return [(each, applied[each.number].applied_at if each.number in applied else None) for each in [*ours, *foreign]]


def check(connection_url: str, ours: Sequence[Migration] | None = None) -> None:
    """Raise `SchemaMismatch` unless this version can work with the schema once `apply` has run.

    A schema newer by exactly one migration is accepted: in a rolling upgrade the older service runs on.
    """
    ours = load() if ours is None else ours
    with _connected(connection_url) as connection:
        compare(_applied(connection), ours)


def examine(connection_url: str, ours: Sequence[Migration] | None = None) -> Examined:
    """Look whether the database will do for `apply` and for what follows. Raises `SchemaMismatch`, `DatabaseUnfit`."""
    with _connected(connection_url) as connection:
        return _examined(connection_url, connection, load() if ours is None else ours)


def _examined(url: str, connection: psycopg.Connection[Any], ours: Sequence[Migration]) -> Examined:
    applied = _applied(connection)
    compare(applied, ours)
    makes_tables = any(each.number not in applied for each in ours)
    return preflight.examine(url, connection, makes_tables=makes_tables)


def _ours() -> Traversable:
    """What is installed has the files as data of the package; a checkout has them at its top."""
    package = resources.files("ledger")
    installed = package / "migrations"
    return installed if installed.is_dir() else package / ".." / "migrations"


def _read(folder: Traversable) -> Iterator[Migration]:
    for file in folder.iterdir():
        if match := NAME.fullmatch(file.name):
            # The hash must not depend on how a checkout ends its lines.
            sql = file.read_bytes().replace(b"\r\n", b"\n")
            yield Migration(int(match["number"]), match["name"], hashlib.sha256(sql).hexdigest(), sql)


def _apply_next(connection: psycopg.Connection[Any], ours: Sequence[Migration]) -> Migration | None:
    with connection.transaction():
        connection.execute(LOCK, [LOCK_KEY])
        if not _has_table(connection):
            connection.execute(CREATE_TABLE)
        applied = _applied(connection)
        compare(applied, ours)
        migration = next((each for each in ours if each.number not in applied), None)
        if migration is None:
            return None
        try:
            connection.execute(migration.sql)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            raise MigrationFailed(f"migration {migration} was refused and rolled back: {error}") from error
        connection.execute(ADD_APPLIED, [migration.number, migration.name, migration.sha256])
    return migration


def _has_table(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute(TABLE_EXISTS).fetchone()
    return row is not None and bool(row[0])


def _applied(connection: psycopg.Connection[Any]) -> Mapping[int, Applied]:
    if not _has_table(connection):
        return {}
    return {row[0]: Applied(*row) for row in connection.execute(READ_APPLIED)}


def compare(applied: Mapping[int, Applied], ours: Iterable[Migration]) -> None:
    numbers = set()
    for migration in ours:
        numbers.add(migration.number)
        row = applied.get(migration.number)
        if row is not None and row.sha256 != migration.sha256:
            raise SchemaMismatch(
                f"The database's migration {row.number:04d}_{row.name} is not this version's {migration}: its text "
                "differs.\nUse the version that made this database, or another database."
            )
    newer = sorted(set(applied) - numbers)
    missing = sorted(numbers - set(applied))
    if len(newer) > 1:
        raise SchemaMismatch(
            f"The database's schema is {len(newer)} migrations newer than this version (up to {newer[-1]:04d}_"
            f"{applied[newer[-1]].name}), and one is allowed.\nInstall the version that made it, or a newer one."
        )
    if missing and applied and missing[0] < max(applied):
        raise SchemaMismatch(
            f"The database lacks migration {missing[0]:04d} but has {max(applied):04d}: its migrations are others.\n"
            "Use the version that made this database, or another database."
        )


@contextmanager
def _connected(connection_url: str) -> Iterator[psycopg.Connection[Any]]:
    try:
        with session.connect(connection_url, "migrate") as connection:
            yield connection
    except psycopg.errors.DiskFull as error:
        raise StoreFull(f"PostgreSQL's disk is full: {error}\nMake room there, then try again.") from error
    except psycopg.OperationalError as error:
        raise preflight.refusal(error, connection_url) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise MigrationFailed(
            f"{str(error).strip()}\nGrant the role of {setting_of(connection_url)} CREATE on the schema, or "
            "make it the owner."
        ) from error
