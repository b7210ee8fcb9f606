"""The commands of the archive on a real server: what people and programs are told."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ledger.cli.app import app
from ledger.store.ledger import Ledger
from tests.support.archived import age, live
from tests.support.ledgers import SEAL_KEY

Ask = Callable[..., Result]


@pytest.fixture
def ask(ledger: Ledger, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Commands on a ledger of ten days ago, of which what is older than `days` is to be archived."""
    live(ledger, database_url)
    age(database_url, 10)
    monkeypatch.setenv("COLUMNS", "500")
    file = tmp_path / "presence-ledger.toml"

    def call(*arguments: str, days: int = 1) -> Result:
        file.write_text(
            f'database_url = "{database_url}"\nseal_keys = "{SEAL_KEY.text}"\ndata_dir = "{tmp_path}/data"\n'
            f"[retention]\nevents_days = {days}\n"
        )
        return CliRunner().invoke(app, ["--config", str(file), *arguments])

    return call


def test_people_are_told_what_became_of_it(ask: Ask, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "archive"
    assert "nothing is archived: retention.events_days is 0" in ask("archive", days=0).stderr
    assert "nothing to archive: no whole partition is older than 30 days" in ask("archive", days=30).stderr
    done = ask("archive", "--lang", "zh")
    assert (done.exit_code, f"位置 49 及之前的 49 条事件已在 {folder} 的 1 个文件中" in done.stderr) == (0, True)
    checked = ask("archive", "verify")
    assert (checked.exit_code, checked.stdout.startswith("intact: 3 files, 15")) == (0, True)
    put_back = ask("archive", "restore")
    assert (put_back.exit_code, put_back.stderr) == (0, "149 events are in the database again\n")


def test_programs_get_json(ask: Ask, tmp_path: Path) -> None:
    assert json.loads(ask("archive", "--json", days=0).stdout) == {"items": [], "events_days": 0.0}
    items = json.loads(ask("archive", "--json").stdout)["items"]
    assert [(each["partition"], each["first"], each["last"], each["events"]) for each in items] == [
        ("events_from_1", 1, 49, 49), ("events_from_50", 50, 99, 50), ("events_from_100", 100, 149, 50),
    ]  # fmt: skip
    [file] = items[0]["files"]
    checked = json.loads(ask("archive", "verify", "--json").stdout)
    assert (checked["intact"], checked["files"], checked["altered"]) == (True, 3, None)
    (tmp_path / "data" / "archive" / file["name"]).unlink()
    found = ask("archive", "verify", "--json")
    assert (found.exit_code, json.loads(found.stdout)["altered"]["position"]) == (1, 1)
    failed = ask("archive", "restore")
    assert (failed.exit_code, f"file {file['name']}, of positions 1 to 49, is missing" in failed.stderr) == (1, True)
    assert [each["first"] for each in json.loads(ask("archive", "--json").stdout)["items"]] == [50, 100]


def test_files_that_the_ledger_does_not_know_are_named(ask: Ask, tmp_path: Path) -> None:
    """As those of a ledger that went back, which no erasure reaches."""
    assert json.loads(ask("archive", "verify", "--json").stdout)["unknown"] == []
    ask("archive")
    folder = tmp_path / "data" / "archive"
    names = [f"events-{1:019d}-0badcafe.parquet", f"events-{50:019d}-0badcafe.parquet.partial"]
    for name in [*names, "notes.txt"]:
        (folder / name).write_bytes(b"")
    found = ask("archive", "verify", "--json")
    assert (found.exit_code, json.loads(found.stdout)["unknown"]) == (0, names)
    told = ask("archive", "verify")
    assert (told.exit_code, told.stdout.startswith("intact: 3 files")) == (0, True)
    assert told.stderr.splitlines()[-4:] == [
        f"not of this ledger: 2 files in {folder}, which no erasure reaches:", *names,
        "delete them, unless another ledger uses this folder; then give each its own",
    ]  # fmt: skip


def test_a_wrong_call_is_told_in_words(ask: Ask) -> None:
    assert ask("archive", "everything").exit_code == 2
    assert ask("archive", "--fast").exit_code == 2
