"""Checks API keys in a real database: made, listed, revoked, and nowhere readable."""

import json
from typing import Any

import psycopg
import pytest
from typer.testing import Result

from ledger.store import api_keys
from ledger.store.api_keys import ApiKeyError, key_hash
from tests.support import pg
from tests.support.command import call

Connection = psycopg.Connection[Any]

pytestmark = pg.on_every_server


def test_a_key_is_shown_once_and_stored_as_its_hash(connection: Connection) -> None:
    key = api_keys.create(connection, "app", ["audit"])
    assert key.startswith("plk_")
    assert len(key) == 47
    assert api_keys.load_active(connection) == {key_hash(key): ("app", frozenset({"read", "audit"}))}
    stored = connection.execute("SELECT api_keys::text FROM api_keys").fetchone()
    assert stored is not None
    assert key.removeprefix("plk_") not in stored[0]


def test_two_keys_are_never_the_same(connection: Connection) -> None:
    assert api_keys.create(connection, "a", ["read"]) != api_keys.create(connection, "b", ["read"])


def test_a_revoked_key_is_listed_and_not_accepted(connection: Connection) -> None:
    api_keys.create(connection, "app", ["admin", "read"])
    revoked_at = api_keys.revoke(connection, "app")
    assert api_keys.load_active(connection) == {}
    (listed,) = api_keys.list_keys(connection)
    assert (listed.name, listed.scopes, listed.revoked_at) == ("app", ("read", "admin"), revoked_at)
    assert api_keys.revoke(connection, "app") == revoked_at


@pytest.mark.parametrize(
    ("granted", "listed", "accepted"),
    [
        (["watch"], ("read", "watch"), {"read", "watch"}),
        (["watch", "audit"], ("watch", "audit"), {"read", "watch", "audit"}),
        (["audit"], ("audit",), {"read", "audit"}),
    ],
)
def test_a_key_that_may_watch_is_one_that_may_read_to_a_version_that_does_not_know_it(
    connection: Connection, granted: list[str], listed: tuple[str, ...], accepted: set[str]
) -> None:
    key = api_keys.create(connection, "app", granted)
    assert [each.scopes for each in api_keys.list_keys(connection)] == [listed]
    assert api_keys.load_active(connection) == {key_hash(key): ("app", frozenset(accepted))}
    stored = connection.execute("SELECT scopes FROM api_keys").fetchone()
    assert stored is not None
    assert set(stored[0]) <= {"read", "audit", "admin"}


def test_names_are_taken_for_ever(connection: Connection) -> None:
    api_keys.create(connection, "app", ["read"])
    with pytest.raises(ApiKeyError, match="A key named 'app' exists already"):
        api_keys.create(connection, "app", ["read"])
    api_keys.revoke(connection, "app")
    with pytest.raises(ApiKeyError, match="A key named 'app' exists already"):
        api_keys.create(connection, "app", ["read"])


@pytest.mark.parametrize(
    ("name", "scopes", "message"),
    [
        ("app", ["write"], "Unknown scope 'write'; the scopes are read, watch, audit, admin."),
        ("app", [], "A key needs a scope: read, watch, audit, admin."),
        ("", ["read"], "'' is not a valid key name"),
        ("a b", ["read"], "'a b' is not a valid key name"),
        ("a" * 65, ["read"], "is not a valid key name"),
    ],
)
def test_a_key_that_cannot_be_made_is_explained(
    connection: Connection, name: str, scopes: list[str], message: str
) -> None:
    with pytest.raises(ApiKeyError) as caught:
        api_keys.create(connection, name, scopes)
    assert message in str(caught.value)
    assert api_keys.list_keys(connection) == []


def test_an_unknown_key_cannot_be_revoked(connection: Connection) -> None:
    with pytest.raises(ApiKeyError, match="There is no key named 'nobody'"):
        api_keys.revoke(connection, "nobody")


def test_the_first_starts_admin_key_is_stored_once(connection: Connection) -> None:
    key = api_keys.new_key()
    assert [api_keys.ensure_admin(connection, key) for _ in range(2)] == ["admin", "admin"]
    assert api_keys.load_active(connection) == {
        key_hash(key): ("admin", frozenset({"read", "watch", "audit", "admin"}))
    }


def test_another_data_folders_admin_key_gets_a_name_of_its_own(connection: Connection) -> None:
    first, second = api_keys.new_key(), api_keys.new_key()
    assert api_keys.ensure_admin(connection, first) == "admin"
    assert api_keys.ensure_admin(connection, second) == f"admin-{key_hash(second).hex()[:12]}"
    assert set(api_keys.load_active(connection)) == {key_hash(first), key_hash(second)}


def test_a_revoked_admin_key_stays_revoked_at_the_next_start(connection: Connection) -> None:
    key = api_keys.new_key()
    api_keys.revoke(connection, api_keys.ensure_admin(connection, key))
    assert api_keys.ensure_admin(connection, key) == "admin"
    assert api_keys.load_active(connection) == {}


def keys(database_url: str, *arguments: str) -> Result:
    return call("keys", *arguments, DATABASE_URL=database_url)


def test_the_command_makes_lists_and_revokes(database_url: str, connection: Connection) -> None:
    made = keys(database_url, "create", "support", "--scope", "read,audit")
    assert (made.exit_code, key_hash(made.stdout.strip()) in api_keys.load_active(connection)) == (0, True)
    (listed,) = json.loads(keys(database_url, "list", "--json").stdout)
    assert (listed["name"], listed["scopes"], listed["revoked_at"]) == ("support", ["read", "audit"], None)
    assert made.stdout.strip() not in keys(database_url, "list").output
    assert keys(database_url, "revoke", "support").exit_code == 0
    assert api_keys.load_active(connection) == {}
    assert "support" in keys(database_url, "list").stdout


def test_the_command_prints_json(database_url: str, connection: Connection) -> None:
    made = json.loads(keys(database_url, "create", "support", "--scope", "admin", "--json").stdout)
    assert (made["name"], made["scopes"]) == ("support", ["admin"])
    assert key_hash(made["key"]) in api_keys.load_active(connection)


def test_the_commands_failures_are_explained(database_url: str, empty_database_url: str) -> None:
    unknown = keys(database_url, "revoke", "nobody")
    assert (unknown.exit_code, unknown.stderr.count("\n")) == (1, 2)
    assert "There is no key named 'nobody'" in unknown.stderr
    untold = keys(empty_database_url, "list")
    assert (untold.exit_code, "Run `presence-ledger migrate` first." in untold.stderr) == (1, True)
    away = keys("postgresql://ledger:geheim@127.0.0.1:1/ledger", "list")
    assert (away.exit_code, away.stderr.count("\n")) == (1, 2)
    assert away.stderr.startswith("presence-ledger: PostgreSQL did not answer: ")
    assert "geheim" not in away.output


def test_migrate_brings_a_database_up_to_date(empty_database_url: str) -> None:
    def migrate(*arguments: str) -> Result:
        return call("migrate", *arguments, DATABASE_URL=empty_database_url)

    before = json.loads(migrate("--status", "--json").stdout)
    assert {each["applied_at"] for each in before} == {None}
    applied = json.loads(migrate("--json").stdout)["applied"]
    assert applied == [each["migration"] for each in before]
    assert "0002_api_keys" in applied
    assert None not in {each["applied_at"] for each in json.loads(migrate("--status", "--json").stdout)}
    assert "0002_api_keys" in migrate("--status").stdout
    assert migrate().stderr == "the schema is up to date\n"
