"""A second database of the embedded PostgreSQL: one to restore into, which then replaces the ledger's at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

from psycopg import sql

from ledger.store import session
from ledger.store.postgres_config import DATABASE

_RESTORED = f"{DATABASE}_restored"
_REPLACED = f"{DATABASE}_replaced"


@contextmanager
def scratch_database(url: str) -> Iterator[str]:
    """The URL of an empty database next to the ledger's; dropped at the end, unless it has replaced the ledger's."""
    for name in (_RESTORED, _REPLACED):
        _execute(url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    _execute(url, sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(_RESTORED)))
    try:
        yield _with_database(url, _RESTORED)
    finally:
        _execute(url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(_RESTORED)))


def replace_ledger(url: str) -> None:
    """Make the scratch database the ledger's own, both names in one transaction; then drop the old one."""
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}").format
    renames = [(DATABASE, _REPLACED), (_RESTORED, DATABASE)]
    _execute(url, *(rename(sql.Identifier(old), sql.Identifier(new)) for old, new in renames))
    _execute(url, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(_REPLACED)))


def _execute(url: str, *statements: sql.Composed) -> None:
    """Run statements, several of them in one transaction, from a database that none of them is about."""
    alone = len(statements) == 1
    with session.connect(_with_database(url, "postgres"), "restore", autocommit=alone) as connection:
        for statement in statements:
            connection.execute(statement)


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
