"""Migrations against real servers: the schema they give, applied once, and what other versions' schemas get."""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from ledger.domain.events import WebhookObserved
from ledger.domain.look import Watch
from ledger.domain.profile import Profile
from ledger.errors import SchemaMismatch
from ledger.store import migrate
from ledger.store.migrate import Migration
from ledger.working_state import followers, looks
from projections.models import current
from tests.support import pg
from tests.support.stored_forms import OLDER, STORED
from tests.support.strategies import Feed, Post

SNAPSHOT = Path(__file__).with_name("schema.snapshot")
# Before there were overrides.
INSERT_OF_THEN = """
INSERT INTO current (uid, version, status, since, devices, state, body)
SELECT * FROM unnest(%b::text[], %b::bigint[], %b::text[], %b::bigint[], %b::text[], %b::bytea[], %b::bytea[])
"""
UPDATE = "PRESENCE_LEDGER_UPDATE_SNAPSHOT"

FILES = {
    "0001_first": "CREATE TABLE first (id bigint PRIMARY KEY);\nINSERT INTO first VALUES (1);",
    "0002_second": "ALTER TABLE first ADD COLUMN name text;",
    "0003_third": "CREATE TABLE third ();",
    "0004_fourth": "CREATE TABLE fourth ();",
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / f"{name}.sql").write_text(text)
    return tmp_path


@pytest.fixture
def four(files: Path) -> list[Migration]:
    return migrate.load(files)


@pytest.fixture
def columns(empty_database_url: str) -> Iterator["Columns"]:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        yield Columns(connection)


class Columns:
    """What the test migrations have made so far."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def of(self, table: str) -> list[str]:
        query = "SELECT column_name FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position"
        return [row[0] for row in self._connection.execute(query, [table])]


def names(migrations: Sequence[Migration]) -> list[str]:
    return [str(migration) for migration in migrations]


@pg.on_every_server
def test_the_schema_is_the_intended_one(database_url: str) -> None:
    found = catalogue(database_url)
    if os.environ.get(UPDATE):
        SNAPSHOT.write_text(found, encoding="utf-8")
    assert found == SNAPSHOT.read_text(encoding="utf-8"), f"if this is intended, run once with {UPDATE}=1 and commit"


@pg.on_every_server
def test_who_was_known_before_reconciliation_is_on_its_agenda(empty_database_url: str) -> None:
    migrate.apply(empty_database_url, migrate.load()[:2])
    feed = Feed(Profile.V2_2)
    feed.post(Post(0.0, "main", "n1", ("here-0-1-1-1-1", "gone-0-1-2-1-1", "gone-0-0-2-0-0", "用户-1-1-3-1-1")))
    feed.post(Post(0.0, "other", "n1", ("here-0-1-1-1-1", "here-1-1-2-1-2")))
    presences = [feed.draft.presence(uid) for uid in ("here", "gone", "用户")]
    with psycopg.connect(empty_database_url) as connection:
        for rows in current.to_rows(presences):
            connection.execute(INSERT_OF_THEN, rows[:7])
        bodies: dict[str, bytes] = dict(connection.execute("SELECT uid, body FROM current"))
        connection.execute(
            """UPDATE current SET body = body || convert_to(',"verified_at":null,"version":1', 'UTF8')"""
        )
        for position in (1, 2, 4711):
            connection.execute(
                "INSERT INTO events (stream, version, position, kind, payload, recorded_at)"
                " VALUES ('source:main', %s, %s, 'service_stopped.v1', '{}', now())",
                (position, position),
            )

    migrate.apply(empty_database_url)

    with psycopg.connect(empty_database_url) as connection:
        everybody = {name: looks.known_after(connection, name, "", 10) for name in ("main", "other")}
        assert followers.followed(connection) == 4711
        assert dict(connection.execute("SELECT uid, body FROM current")) == bodies
    in_turn = Watch(0)
    assert everybody == {"main": {"gone": in_turn, "here": in_turn, "用户": in_turn}, "other": {"here": in_turn}}


@pg.on_every_server
def test_a_person_with_psql_reads_payloads_by_the_names_of_the_api(empty_database_url: str) -> None:
    migrate.apply(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        for kind, (payload, event) in STORED.items():
            row = connection.execute("SELECT event_json(%s, %s)", (kind, payload.encode())).fetchone()
            assert row is not None
            assert row[0].keys() <= set(event.__struct_fields__)
        for kind, (newer, payload) in OLDER.items():
            forms = [(kind, payload), (newer, STORED[newer][0])]
            rows = [
                connection.execute("SELECT event_json(%s, %s)", (name, text.encode())).fetchone()
                for name, text in forms
            ]
            older, now = (row[0] for row in rows if row is not None)
            assert older.items() <= now.items()
        names = WebhookObserved.__struct_fields__
        whole = json.dumps([*names, "added"]).encode()
        named = connection.execute("SELECT event_json('webhook_observed.v2', %s)", (whole,)).fetchone()
        assert named == ({name: name for name in names},)


@pg.on_every_server
def test_outages_go_on_where_the_timeline_had_come(empty_database_url: str) -> None:
    ours = migrate.load()
    before = next(each.number for each in ours if each.name == "smaller") - 1
    migrate.apply(empty_database_url, ours[:before])
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(
            "UPDATE projections SET position = 9, anchor_position = 9, anchor = '1' WHERE name = 'timeline'"
        )
        connection.execute(
            "UPDATE projections SET stopped_position = 10, stopped_reason = 'why' WHERE name = 'timeline'"
        )
        connection.execute("INSERT INTO projection_skips (name, position, reason) VALUES ('timeline', 7, 'because')")

    migrate.apply(empty_database_url)

    with psycopg.connect(empty_database_url) as connection:
        checkpoints = connection.execute(
            "SELECT name, position, anchor_position, anchor, stopped_position FROM projections"
        )
        found = {name: rest for name, *rest in checkpoints}
        assert found["outages"] == [9, 9, b"1", None]
        assert "timeline" not in found
        assert connection.execute("SELECT name, position FROM projection_skips").fetchall() == [("outages", 7)]


@pg.on_every_server
def test_applied_twice_changes_nothing(empty_database_url: str) -> None:
    ours = migrate.load()
    assert migrate.apply(empty_database_url) == ours
    before = catalogue(empty_database_url), migrate.status(empty_database_url)

    assert migrate.apply(empty_database_url) == []

    assert (catalogue(empty_database_url), migrate.status(empty_database_url)) == before


@pg.on_every_server
def test_two_at_once_apply_each_file_once(empty_database_url: str, four: list[Migration]) -> None:
    with ThreadPoolExecutor(8) as threads:
        applied = list(threads.map(lambda _: migrate.apply(empty_database_url, four), range(8)))
    assert sorted(names([each for some in applied for each in some])) == sorted(FILES)


def test_status_says_what_is_applied_and_what_is_not(empty_database_url: str, four: list[Migration]) -> None:
    assert [at for _, at in migrate.status(empty_database_url, four)] == [None] * 4
    migrate.apply(empty_database_url, four[:2])
    assert [(each.number, at is not None) for each, at in migrate.status(empty_database_url, four)] == [
        (1, True),
        (2, True),
        (3, False),
        (4, False),
    ]
    assert names([each for each, _ in migrate.status(empty_database_url, four[:1])]) == ["0001_first", "0002_second"]


def test_what_is_missing_is_applied_and_no_more(empty_database_url: str, four: list[Migration]) -> None:
    migrate.apply(empty_database_url, four[:2])
    migrate.check(empty_database_url, four)
    assert names(migrate.apply(empty_database_url, four)) == ["0003_third", "0004_fourth"]


def test_an_altered_file_is_refused_before_anything_changes(
    empty_database_url: str, four: list[Migration], files: Path, columns: Columns
) -> None:
    migrate.apply(empty_database_url, four[:1])
    (files / "0001_first.sql").write_text("CREATE TABLE first (id integer);")
    altered = migrate.load(files)

    for attempt in (migrate.apply, migrate.check):
        with pytest.raises(SchemaMismatch, match="0001_first is not this version's 0001_first"):
            attempt(empty_database_url, altered)

    assert columns.of("first") == ["id"]


def test_a_schema_newer_by_one_is_accepted(empty_database_url: str, four: list[Migration]) -> None:
    migrate.apply(empty_database_url, four[:3])
    migrate.check(empty_database_url, four[:2])
    assert migrate.apply(empty_database_url, four[:2]) == []


def test_a_schema_newer_by_two_is_refused(empty_database_url: str, four: list[Migration]) -> None:
    migrate.apply(empty_database_url, four)
    for attempt in (migrate.apply, migrate.check):
        with pytest.raises(SchemaMismatch, match="2 migrations newer than this version"):
            attempt(empty_database_url, four[:2])


def test_a_file_that_fails_leaves_nothing_of_itself(empty_database_url: str, files: Path, columns: Columns) -> None:
    (files / "0003_third.sql").write_text("CREATE TABLE third (id bigint); SELECT 1 / 0;")
    broken = migrate.load(files)

    with pytest.raises(migrate.MigrationFailed, match="0003_third was refused and rolled back: division by zero"):
        migrate.apply(empty_database_url, broken)

    assert columns.of("first") == ["id", "name"]
    assert columns.of("third") == []
    assert [at is not None for _, at in migrate.status(empty_database_url, broken)] == [True, True, False, False]


# A schema as text: what the catalogue says of it, in the same words on every version of PostgreSQL that we support.
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
