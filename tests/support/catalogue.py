"""A schema as text: what PostgreSQL's catalogue says of it, in the same words on every version we support."""

from typing import LiteralString

import psycopg

COLUMNS = """
SELECT format('%s %s.%s %s%s%s',
              CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'column' END,
              c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
              CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END,
              CASE WHEN a.attidentity <> '' THEN ' IDENTITY' ELSE '' END
              || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), ''))
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = current_schema::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
ORDER BY c.relname, a.attnum
"""
# PostgreSQL 18 lists NOT NULL (n) among the constraints too; the columns say it already.
CONSTRAINTS = """
SELECT format('constraint %s.%s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
FROM pg_constraint
WHERE connamespace = current_schema::regnamespace AND contype <> 'n' AND conrelid <> 0
ORDER BY conrelid::regclass::text, conname
"""
INDEXES = """
SELECT format('index %s', indexdef) FROM pg_indexes WHERE schemaname = current_schema ORDER BY tablename, indexname
"""
OPTIONS = """
SELECT format('table %s %s%s', relname, CASE relpersistence WHEN 'u' THEN 'unlogged ' ELSE '' END,
              coalesce(array_to_string(reloptions, ' '), ''))
FROM pg_class WHERE relnamespace = current_schema::regnamespace AND relkind IN ('r', 'p') ORDER BY relname
"""
TRIGGERS = """
SELECT format('trigger %s', pg_get_triggerdef(t.oid))
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = current_schema::regnamespace AND NOT t.tgisinternal ORDER BY c.relname, t.tgname
"""
FUNCTIONS = """
SELECT format('function %s', pg_get_functiondef(oid))
FROM pg_proc WHERE pronamespace = current_schema::regnamespace AND prokind IN ('f', 'p')
ORDER BY proname, pg_get_function_identity_arguments(oid)
"""
SEQUENCES = """
SELECT format('sequence %s %s', sequencename, data_type) FROM pg_sequences
WHERE schemaname = current_schema ORDER BY sequencename
"""
TYPES = """
SELECT format('type %s %s', t.typname, (SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
                                        FROM pg_enum e WHERE e.enumtypid = t.oid))
FROM pg_type t WHERE t.typnamespace = current_schema::regnamespace AND t.typtype IN ('e', 'd') ORDER BY t.typname
"""

QUERIES: tuple[LiteralString, ...] = (
    OPTIONS, COLUMNS, CONSTRAINTS, INDEXES, TRIGGERS, FUNCTIONS, SEQUENCES, TYPES,
)  # fmt: skip


def catalogue(connection_url: str) -> str:
    """Everything in the connection's schema, one thing a line (functions take several), in a stable order."""
    with psycopg.connect(connection_url) as connection:
        lines = [row[0].rstrip() for query in QUERIES for row in connection.execute(query)]
    return "\n".join(lines) + "\n"
