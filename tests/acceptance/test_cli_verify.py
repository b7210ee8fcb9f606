"""Checks the command `verify`: its exit codes, what it prints for people and programs, heads written and checked."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import Result

from tests.support.command import call
from tests.support.ledgers import SEAL_KEY
from tests.support.pg import new_database
from tests.support.tampering import fill, unguarded

OTHER_KEY = "some-other-key-that-never-sealed-this-ledger"


@pytest.fixture
def url(server: str) -> Iterator[str]:
    """A ledger of six events of two commits."""
    with new_database(server) as url:
        fill(url, [1, 2])
        yield url


def verify(url: str, *arguments: str | Path, keys: str = SEAL_KEY.text) -> Result:
    return call("verify", *map(str, arguments), DATABASE_URL=url, SEAL_KEYS=keys, DATA_DIR="/nonexistent")


def verify_json(url: str, *arguments: str | Path, code: int) -> Any:
    done = verify(url, "--json", *arguments)
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_an_intact_ledger(url: str) -> None:
    done = verify(url)
    assert (done.exit_code, done.stdout) == (0, "intact: 6 events under 2 seals, up to position 6\n")
    found = verify_json(url, code=0)
    assert found["head"].keys() == {
        "presence_ledger_head", "position", "seal", "seals", "made_at", "key_id", "signature",
    }  # fmt: skip
    assert (found["intact"], found["events"], found["seals"], found["altered"]) == (True, 6, 2, None)
    assert (found["head"]["position"], found["head"]["seals"]) == (6, 2)


def test_an_altered_one(url: str, tmp_path: Path) -> None:
    with unguarded(url) as connection:
        connection.execute("UPDATE events SET payload = '{}' WHERE position = 5")
        connection.commit()
    done = verify(url, "--export-head", tmp_path / "head.json")
    assert (done.exit_code, done.stdout, list(tmp_path.iterdir())) == (1, "", [])
    assert "Altered at position 5: the event was altered" in done.stderr
    assert "\nNo event before it was altered. A backup" in done.stderr
    found = verify_json(url, code=1)
    assert (found["intact"], found["events"], found["head"]["position"]) == (False, 4, 3)
    assert found["altered"] == {"position": 5, "what": "the event was altered, or another one put in its place"}
    assert verify(url, "--after", "6").exit_code == 0


def test_nothing_beyond_the_head_is_intact(url: str, tmp_path: Path) -> None:
    done = verify(url, "--after", "7", "--export-head", tmp_path / "head.json")
    assert (done.exit_code, done.stdout, list(tmp_path.iterdir())) == (1, "", [])
    assert "Position 7 is beyond the head, which is 6" in done.stderr
    assert verify(url, "--after", "6").exit_code == 0


def test_a_head_kept_elsewhere(url: str, tmp_path: Path) -> None:
    head = tmp_path / "head.json"
    assert verify(url, "--export-head", head).exit_code == 0
    assert head.stat().st_mode & 0o777 == 0o600
    fill(url, [3])
    since = verify(url, "--head", head, "--after", "6")
    assert since.stdout.startswith("intact: 3 events under 1 seal, up to position 9; the head of 20")
    passed = verify(url, "--head", head, "--after", "7")
    assert (passed.exit_code, "the head is at position 6" in passed.stderr) == (2, True)
    again = verify(url, "--head", head, "--export-head", head)
    assert again.stdout.startswith("intact: 9 events under 3 seals, up to position 9; the head of 20")
    assert json.loads(head.read_text())["position"] == 9
    with unguarded(url) as connection:
        connection.execute("DELETE FROM events WHERE position > 6")
        connection.execute("DELETE FROM seals WHERE first_position > 6")
        connection.commit()
    assert verify(url).exit_code == 0
    cut = verify(url, "--head", head)
    assert cut.exit_code == 1
    beyond = verify(url, "--head", head, "--after", "9")
    assert (beyond.exit_code, "the seal of position 9 is not the head's" in beyond.stderr) == (1, True)
    assert "Altered at position 7: what the head knows up to position 9 was cut off from here on." in cut.stderr


def _doctored(text: str) -> str:
    return text.replace('"position": 6', '"position": 3')


@pytest.mark.parametrize(
    ("alter", "says"),
    [
        (_doctored, "was altered since it was exported"),
        (lambda text: text[:100], "is not the head of a ledger, or only part of one"),
        (lambda _: "", "is not the head of a ledger"),
        (lambda _: "[1]", "is not the head of a ledger"),
        (lambda text: text.replace('"seals": 2,', ""), "is incomplete"),
        (
            lambda text: text.replace('"presence_ledger_head": 1', '"presence_ledger_head": 2'),
            "was written by a newer version",
        ),
    ],
)
def test_a_file_that_is_no_head_is_refused(url: str, tmp_path: Path, alter: Any, says: str) -> None:
    head = tmp_path / "head.json"
    assert verify(url, "--export-head", head).exit_code == 0
    text = head.read_text()
    head.write_text(alter(text))
    assert head.read_text() != text
    refused = verify(url, "--head", head)
    assert (refused.exit_code, says in refused.stderr, refused.stderr.count("\n")) == (1, True, 2)


def test_keys_that_are_not_here(url: str, tmp_path: Path) -> None:
    head = tmp_path / "head.json"
    assert verify(url, "--export-head", head).exit_code == 0
    foreign = verify(url, keys=OTHER_KEY)
    assert foreign.exit_code == 1
    assert f"The key {SEAL_KEY.id.hex()}, which is not here, sealed positions from 1 to 6." in foreign.stderr
    assert "ltered" not in foreign.stderr
    told = json.loads(verify(url, "--json", keys=OTHER_KEY).stdout)
    missing = {"key_id": SEAL_KEY.id.hex(), "first": 1, "last": 6}
    assert (told["intact"], told["altered"], told["missing_key"]) == (None, None, missing)
    assert (
        f"is signed by the key {SEAL_KEY.id.hex()}, which is not here"
        in verify(url, "--head", head, keys=OTHER_KEY).stderr
    )
    assert verify(url, "--head", head, keys=f"{OTHER_KEY},{SEAL_KEY.text}").exit_code == 0
    none = call("verify", DATABASE_URL=url, DATA_DIR=str(tmp_path))
    assert none.exit_code == 1
    assert "There is no seal key, neither in seal_keys nor in" in none.stderr
    (tmp_path / "seal.key").write_text(f"{SEAL_KEY.text}\n")
    assert call("verify", DATABASE_URL=url, DATA_DIR=str(tmp_path)).exit_code == 0


def test_files_and_databases_that_cannot_be_used(url: str, empty_database_url: str, tmp_path: Path) -> None:
    missing = verify(url, "--head", tmp_path / "none.json")
    assert (missing.exit_code, "cannot be used: No such file" in missing.stderr) == (1, True)
    nowhere = verify(url, "--export-head", tmp_path / "none" / "head.json")
    assert (nowhere.exit_code, "cannot be used: No such file" in nowhere.stderr) == (1, True)
    assert "Run `presence-ledger migrate` first" in verify(empty_database_url).stderr
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (6,)
