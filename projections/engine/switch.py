"""Tables built alongside the live ones, in a schema of their own, which replace these within one transaction."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

from psycopg import Cursor, sql

from ledger.store import distribution

ONE_MOMENT: LiteralString = """
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
LOCK TABLE {} IN ACCESS SHARE MODE
"""
"""Begins a transaction that reads one snapshot of these tables (not to be prepared: it is two statements).

They are locked before the snapshot is taken: of a table that replaced one of them later, no row would be seen.
"""

SCHEMA = "rebuild"
REPLACED = "replaced"
"""Where the live tables are for the rest of the transaction that replaces them."""

# Whose table it is: the first schema of the search path that has it.
_PLACE = """
SELECT n.nspname, array_to_string(c.reloptions, ', ')
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.oid = to_regclass(%s)
"""

# Written without the schema, so that they can be run again for the table of the same name in another one.
_INDEXES = """
SELECT CASE WHEN k.oid IS NULL THEN pg_get_indexdef(i.indexrelid, 0, true)
            ELSE format('ALTER TABLE %%I ADD CONSTRAINT %%I %%s', c.relname, k.conname, pg_get_constraintdef(k.oid)) END
  FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
  LEFT JOIN pg_constraint AS k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u')
 WHERE i.indrelid = to_regclass(%s)
 ORDER BY i.indexrelid
"""

_VIEWS = """
SELECT DISTINCT v.oid::regclass::text, pg_get_viewdef(v.oid)
  FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid JOIN pg_class AS v ON v.oid = r.ev_class
 WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = to_regclass(%s) AND v.relkind = 'v'
"""

_GRANTS = """
SELECT g.privilege_type, CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
       CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
  FROM pg_class AS c, LATERAL aclexplode(c.relacl) AS g
 WHERE c.oid = to_regclass(%s) AND g.grantee <> c.relowner
"""


_SET_PATH = "SELECT set_config('search_path', %s, true)"


def clear(cursor: Cursor[Any]) -> None:
    """Remove what a rebuild left that did not come to its end."""
    cursor.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(SCHEMA)))


def begin(cursor: Cursor[Any], tables: Iterable[str], *, indexed: bool = True) -> None:
    """Make empty tables like the live ones; `indexed` False: `index` completes them once they are filled."""
    cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCHEMA)))
    for table in tables:
        live, options = _place(cursor, table)
        cursor.execute(
            sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL EXCLUDING INDEXES)").format(
                sql.Identifier(SCHEMA, table), sql.Identifier(live, table)
            )
        )
        if options:
            cursor.execute(f'ALTER TABLE {SCHEMA}."{table}" SET ({options})'.encode())
    if indexed:
        index(cursor, tables)
    for table in tables:
        distribution.spread_alike(cursor, SCHEMA, table)


def index(cursor: Cursor[Any], tables: Iterable[str]) -> None:
    """Give the new tables the indexes and keys of the live ones, under the same names."""
    statements = [each for table in tables for (each,) in cursor.execute(_INDEXES, (table,)).fetchall()]
    with named_first(cursor):
        for statement in statements:
            cursor.execute(statement.encode())


def analyze(cursor: Cursor[Any], tables: Iterable[str]) -> None:
    """Let the planner know the new tables before they are read."""
    for table in tables:
        cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(SCHEMA, table)))


@contextmanager
def named_first(cursor: Cursor[Any]) -> Iterator[None]:
    """Within, a table's name means the new one, where there is one. To be used within a transaction."""
    row = cursor.execute("SELECT current_setting('search_path')").fetchone()
    assert row is not None
    cursor.execute(_SET_PATH, (f"{SCHEMA}, {row[0]}",))
    yield
    cursor.execute(_SET_PATH, (row[0],))


def switch(cursor: Cursor[Any], tables: Sequence[str]) -> None:
    """Put the new tables in the place of the live ones, with their views and privileges.

    Waits for those that are reading these. The search path is to be that of the live ones.
    """
    cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(REPLACED)))
    for table in tables:
        live, _ = _place(cursor, table)
        views = cursor.execute(_VIEWS, (table,)).fetchall()
        grants = cursor.execute(_GRANTS, (table,)).fetchall()
        _move(cursor, live, table, REPLACED)
        _move(cursor, SCHEMA, table, live)
        for view, definition in views:
            cursor.execute(f"CREATE OR REPLACE VIEW {view} AS {definition}".encode())
        for privilege, grantee, option in grants:
            cursor.execute(f'GRANT {privilege} ON "{live}"."{table}" TO {grantee}{option}'.encode())
    for schema in (REPLACED, SCHEMA):
        cursor.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


def _move(cursor: Cursor[Any], schema: str, table: str, to: str) -> None:
    cursor.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(sql.Identifier(schema, table), sql.Identifier(to)))


def _place(cursor: Cursor[Any], table: str) -> tuple[str, str | None]:
    """-> (the schema that a table is in, its storage options)"""
    row = cursor.execute(_PLACE, (table,)).fetchone()
    assert row is not None
    return row[0], row[1]
