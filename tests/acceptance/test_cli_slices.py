"""Checks `export`, `import` and `replay`: alongside a live service, into another ledger, and back; their refusals."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.support.command import call
from tests.support.pg import new_database
from tests.support.service import Api
from tests.support.slices import eventful, slice_of, written

KEY = "some-seal-key-of-the-slices-tests-here"


class Place:
    """A database with a data folder."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder

    def run(self, *arguments: str | Path) -> Result:
        """A command on it."""
        return call(*map(str, arguments), DATABASE_URL=self.url, DATA_DIR=str(self.folder), SEAL_KEYS=KEY)

    def done(self, *arguments: str | Path) -> str:
        """The output of a command that must succeed."""
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def read(self, *arguments: str | Path) -> Any:
        """What a command prints for programs."""
        return json.loads(self.done(*arguments, "--json"))


def unsummed(file: Path) -> list[dict[str, Any]]:
    """A slice's lines but for its header, without their checksums, in which the header's has its part."""
    lines = [json.loads(line) for line in file.read_text().splitlines()[1:]]
    return [{name: value for name, value in line.items() if name != "sum"} for line in lines]


@pytest.fixture
def other(server: str, tmp_path: Path) -> Iterator[Place]:
    """An empty ledger, whose database has no schema yet."""
    with new_database(server, migrated=False) as url:
        yield Place(url, tmp_path / "data")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The slice of a small ledger, packed."""
    return written(slice_of(eventful().kept), tmp_path / "small.ndjson.gz")


def test_from_a_live_service_to_another_ledger(
    api: Api, module_database_url: str, other: Place, tmp_path: Path
) -> None:
    api.deliver("alice-0-1-1-1-1", "bob-0-1-2-1-1")
    api.deliver("alice-0-1-1-1-1", "nonsense")
    api.deliver("bob-0-0-2-0-0")
    live, file = Place(module_database_url, tmp_path / "live"), tmp_path / "slice.ndjson"
    exported = live.run("export", file)
    assert exported.exit_code == 0, exported.output
    assert "events, and the states of 0 streams" in exported.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert other.read("import", file)["already"] is False
    assert other.read("import", file)["already"] is True
    again = tmp_path / "again.ndjson"
    other.done("export", again)
    assert unsummed(again) == unsummed(file)
    for result in (live.read("replay"), other.read("replay"), live.read("replay", file)):
        assert (result["judged"]["differing"], result["judged"]["not_repeatable"]) == (0, {})
        assert [status for _, status in result["users"]["bob"]["recorded"]] == ["online", "offline"]
    assert other.read("verify")["intact"]


def test_what_was_recorded_by_a_clock_that_is_ahead_counts_as_recorded_now(other: Place, tmp_path: Path) -> None:
    ahead = written(slice_of(eventful(4_000_000_000_000_000).kept), tmp_path / "ahead")
    assert "imported, with their positions; all count as recorded now\n" in other.done("import", ahead)


def test_of_chosen_users_and_a_time(other: Place, small: Path) -> None:
    assert "imported, with their positions\n" in other.done("import", small)
    whole = other.read("replay")
    one = other.read("replay", "--user", "bob")
    assert one["users"] == {"bob": whole["users"]["bob"]}
    assert other.read("replay", "--processes", "2") == whole
    summed = other.read("replay", "--summary", "--policy", "confirmations=1")
    assert summed["users"] == {"bob": {"differing_seconds": 4.0}}
    assert "differs for\n" in other.done("replay", "--summary", "--policy", "confirmations=1")
    instant = whole["users"]["bob"]["recorded"][1][0]
    later = other.read("replay", "--from", instant)
    assert later["users"]["bob"]["recorded"][0][1] == "online"
    assert later["events"] < whole["events"]
    assert other.read("replay", "--to", instant)["events"] + later["events"] == whole["events"]


def test_what_another_number_would_have_shown(other: Place, small: Path) -> None:
    counterfactual = other.read("replay", small, "--policy", "confirmations=1", "--policy", "dark_seconds=5")
    assert counterfactual["policy"] == {"confirmations": 1, "dark_seconds": 5.0}
    assert counterfactual["differing_seconds"] == counterfactual["users"]["bob"]["differing_seconds"] > 0
    told = other.run("replay", small, "--policy", "confirmations=1", "--policy", "dark_seconds=5")
    assert "bob" in told.stdout
    assert "shown differently: 1 of 4 users, for 4 s in all" in told.stderr
    assert "taken as recorded, since the evidence cannot show what dark_seconds would lead to" in told.stderr
    same = other.run("replay", small)
    assert "every user would have been shown the same at all times" in same.stderr


def test_until_an_instant(other: Place, small: Path) -> None:
    whole = other.read("replay", small)
    first = whole["users"]["bob"]["recorded"][0][0]
    assert other.read("replay", small, "--until", first)["until"] == first


def test_names_are_the_same_in_every_slice_of_a_data_folder(other: Place, small: Path, tmp_path: Path) -> None:
    other.done("import", small)
    names = []
    for number in range(2):
        file = tmp_path / f"{number}.ndjson"
        other.done("export", "--pseudonymise", "--user", "alice", file)
        header = json.loads(file.read_text().splitlines()[0])
        assert header["pseudonymised"] is True
        names.append(header["users"])
        assert "alice" not in file.read_text()
    assert names[0] == names[1]
    assert stat.S_IMODE((other.folder / "pseudonym.key").stat().st_mode) == 0o600


def test_a_slice_on_standard_output(other: Place, small: Path) -> None:
    other.done("import", small)
    lines = other.done("export", "-").splitlines()
    assert json.loads(lines[0])["kind"] == "header"
    assert json.loads(lines[-1])["events"] == len(lines) - 2


def test_who_was_never_seen_and_a_slice_of_nothing_are_told(other: Place, small: Path, tmp_path: Path) -> None:
    other.done("import", small)
    file = tmp_path / "nobody.ndjson"
    exported = other.run("export", "--user", "nobody", "--user", "bob", "--to", "2001-01-01T00:00:00Z", file)
    assert exported.exit_code == 0, exported.output
    assert "the ledger has no event of nobody\n" in exported.stderr
    assert "of bob" not in exported.stderr
    assert "has no events and no states; nothing was changed" in other.done("import", file)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("export", "x", "--from", "tomorrow"), "is not a timestamp (such as"),
        (("export", "x", "--from", "2026-01-02T00:00:00Z", "--to", "2026-01-01T00:00:00Z"), "is not after --from"),
        (("replay", "SLICE", "--user", "u"), "a slice is replayed whole"),
        (("replay", "SLICE", "--webhooks-only"), "is for recordings"),
        (("replay", "SLICE", "--until", "12"), "is not a timestamp"),
        (("replay", "--all-deliveries"), "is for recordings"),
        (("replay", "SLICE", "--processes", "2"), "is judged by one"),
        (("replay", "--user", "u", "--processes", "2"), "is judged by one"),
        (("replay", "--processes", "0"), "--processes"),
        (("replay", "--processes", "65"), "--processes"),
        (("import", "SLICE", "--source", "main"), "is not OLD=NEW"),
        (("import", "SLICE", "--source", "main=a", "--source", "main=b"), "'main' cannot become both 'a' and 'b'"),
        (("import", "SLICE", "--source", "main=a/b"), "must be 1 to 64 ASCII letters"),
        (("import", "SLICE", "--source", "main=a b"), "must be 1 to 64 ASCII letters"),
        (("replay", "SLICE", "--policy", "x=1"), "--policy x"),
    ],
)
def test_a_wrong_call(arguments: tuple[str, ...], said: str, other: Place, small: Path) -> None:
    result = other.run(*(str(small) if each == "SLICE" else each for each in arguments))
    assert (result.exit_code, said in " ".join(result.stderr.split())) == (2, True), result.output


def test_a_failure_is_told_in_two_lines(other: Place, small: Path, tmp_path: Path) -> None:
    other.done("import", small)
    taken = tmp_path / "taken"
    taken.write_text("mine")
    for arguments in (("export", taken), ("import", taken)):
        result = other.run(*arguments)
        assert (result.exit_code, result.stderr.startswith("presence-ledger: ")) == (1, True), result.output
        assert len(result.stderr.splitlines()) <= 2
    assert taken.read_text() == "mine"


def test_a_recording_is_replayed_as_ever(other: Place, tmp_path: Path) -> None:
    recording = tmp_path / "recording.jsonl"
    meta = {"kind": "meta", "server": "v22"}
    webhook = {"kind": "webhook", "t": 1.5, "node": "n1", "event": "user.onlinestatus", "answer": "ok"}
    recording.write_text(f"{json.dumps(meta)}\n{json.dumps(webhook | {'body': json.dumps(['u-0-1-1-1-1'])})}\n")
    assert other.read("replay", recording, "--until", "2.0")["users"]["u"]["transitions"] == [[1.5, "online"]]
    refused = other.run("replay", recording, "--until", "-1")
    assert (refused.exit_code, "is below 0" in refused.stderr) == (2, True)
    assert other.run("replay", recording, "--user", "u").exit_code == 2
