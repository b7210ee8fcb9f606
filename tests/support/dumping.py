"""Everything that a database holds, as bytes to be searched; and the forms in which a uid may stand there."""

import base64
from typing import Any

from psycopg import Connection, sql

_TABLES = """
SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""


def tables_naming(connection: Connection[Any], uid: str) -> set[str]:
    """The tables that hold a uid, plain or as base64."""
    return {table for table, content in dumped(connection).items() if any(form in content for form in forms(uid))}


def dumped(connection: Connection[Any]) -> dict[str, bytes]:
    """The rows of each table of each schema, in binary, where text and bytes stand as they are."""
    found = {}
    for schema, table in connection.execute(_TABLES.encode()).fetchall():
        copy = sql.SQL("COPY {} TO STDOUT (FORMAT BINARY)").format(sql.Identifier(schema, table))
        with connection.cursor().copy(copy) as rows:
            found[f"{schema}.{table}"] = b"".join(bytes(part) for part in rows)
    return found


def forms(uid: str) -> list[bytes]:
    """A uid's bytes, and what is left of them in base64 wherever they begin."""
    plain = uid.encode()
    whole = [plain[skip : skip + (len(plain) - skip) // 3 * 3] for skip in range(3)]
    return [plain, *(base64.b64encode(part) for part in whole if len(part) >= 6)]
