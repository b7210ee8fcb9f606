"""A real Citus cluster that somebody else runs: ledgers in schemas of their own in one database of its coordinator."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from urllib.parse import quote

import psycopg
from psycopg import sql

from ledger.store import distribution, migrate

WITHOUT = "no Citus cluster: name a database on its coordinator that may be used up, by --citus URL"

_numbers = count(1)

_DESCRIBE = """
SELECT current_setting('server_version'), (SELECT extversion FROM pg_extension WHERE extname = 'citus'),
       (SELECT count(*) FROM citus_get_active_worker_nodes())
"""


@contextmanager
def new_schema(url: str) -> Iterator[str]:
    """The URL of an empty schema of that database, which is dropped at the end."""
    name = f"ledger_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    try:
        yield f"{url}{'&' if '?' in url else '?'}options={quote(f'-c search_path={name}')}"
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET client_min_messages = warning")
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


@contextmanager
def new_ledger(url: str) -> Iterator[str]:
    """The URL of a distributed ledger with nothing in it."""
    with new_schema(url) as schema:
        migrate.apply(schema)
        distribution.distribute(schema)
        yield schema


def describe(url: str) -> str:
    """Versions and workers."""
    with psycopg.connect(url) as connection:
        row = connection.execute(_DESCRIBE).fetchone()
        assert row is not None
        return f"PostgreSQL {row[0]} with Citus {row[1]} and {row[2]} workers"
