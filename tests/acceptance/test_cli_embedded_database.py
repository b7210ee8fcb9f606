"""Checks the commands that need the database against an embedded one, stopped and running."""

import json
from pathlib import Path

import psycopg

from ledger.store.data_folder import DataFolder
from ledger.store.embedded import EmbeddedPostgres
from tests.support import pg
from tests.support.command import call


def test_migrate_starts_a_stopped_database_for_so_long(data_dir: Path) -> None:
    applied = call("migrate", "--json", DATA_DIR=str(data_dir))
    assert applied.exit_code == 0, applied.output
    assert "0002_api_keys" in json.loads(applied.stdout)["applied"]
    assert not EmbeddedPostgres(data_dir).is_running()
    shown = call("projections", "--json", DATA_DIR=str(data_dir))
    assert (shown.exit_code, "outages" in shown.stdout) == (0, True), shown.output
    assert not EmbeddedPostgres(data_dir).is_running()
    status = call("migrate", "--status", DATA_DIR=str(data_dir))
    assert (status.exit_code, "is not running.\nStart the service" in status.stderr) == (1, True)


def test_migrate_leaves_a_data_folder_alone_that_a_service_holds(data_dir: Path) -> None:
    with DataFolder(data_dir):
        refused = call("migrate", DATA_DIR=str(data_dir))
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"presence-ledger: The data folder {data_dir.resolve()} is in use")
    assert refused.stderr.count("\n") == 2


def test_a_running_database_serves_every_command(data_dir: Path) -> None:
    pg.make_data_dir(data_dir)
    embedded = EmbeddedPostgres(data_dir)
    with DataFolder(data_dir):
        url = embedded.start()
        try:
            assert call("config", "database-url", DATA_DIR=str(data_dir)).output == f"{url}\n"
            assert call("migrate", DATA_DIR=str(data_dir)).exit_code == 0
            made = call("keys", "create", "app", DATA_DIR=str(data_dir))
            assert (made.exit_code, made.stdout.startswith("plk_")) == (0, True)
            with psycopg.connect(url) as connection:
                assert connection.execute("SELECT name, scopes FROM api_keys").fetchall() == [("app", ["read"])]
        finally:
            embedded.stop()
