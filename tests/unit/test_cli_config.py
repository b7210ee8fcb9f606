"""Checks what `config` shows and hides, and the lines it gives for WuKongIM."""

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.support.command import call

TEXT = """\
database_url = "postgresql://ledger:p4ssw0rd@db/ledger"
[[sources]]
name = "main"
webhook_secret = ["newest-secret", "oldest-secret"]
nodes = [{ name = "n1", token = "manager-token" }, { name = "n2", profile = "v3" }]
[[sources]]
name = "east"
[api_keys]
app = { key = "app-key-of-the-file", scopes = ["audit"] }
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "presence-ledger.toml").write_text(TEXT)
    (tmp_path / "presence-ledger.toml").chmod(0o600)
    return tmp_path


def run(*arguments: str, **variables: str) -> Result:
    result = call("config", *arguments, **variables)
    assert result.exit_code == 0, result.output
    return result


def pasted(*arguments: str) -> list[dict[str, Any]]:
    pastes: list[dict[str, Any]] = json.loads(run("wukongim", "--json", *arguments).stdout)
    return pastes


def test_settings_are_listed_with_their_origins() -> None:
    lines = [line.split() for line in run(LISTEN="127.0.0.1:9000").stdout.splitlines()]
    assert lines[0] == ["setting", "value", "from"]
    assert ["listen", "127.0.0.1:9000", "PRESENCE_LEDGER_LISTEN"] in lines
    assert ["sources[1].name", "east", "presence-ledger.toml:7"] in lines
    assert ["policy.grace_seconds", "0", "default"] in lines


def test_json_has_the_same(folder: Path) -> None:
    told = json.loads(run("--json").stdout)
    assert told["file"] == str(folder / "presence-ledger.toml")
    assert told["settings"]["policy.confirmations"] == {"value": 2, "origin": "default"}
    assert told["settings"]["sources[0].nodes[1].profile"] == {"value": "v3", "origin": "presence-ledger.toml:5"}


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_no_secret_is_shown(arguments: tuple[str, ...]) -> None:
    output = run(*arguments).output
    assert "********" in output
    for secret in ("p4ssw0rd", "newest-secret", "oldest-secret", "manager-token", "app-key-of-the-file"):
        assert secret not in output


def test_showing_makes_nothing(folder: Path) -> None:
    run()
    assert [path.name for path in folder.iterdir()] == ["presence-ledger.toml"]


def test_the_databases_url_is_printed_alone() -> None:
    assert run("database-url").output == "postgresql://ledger:p4ssw0rd@db/ledger\n"


def test_the_databases_url_is_set_as_the_environment_of_a_shell() -> None:
    url = "postgresql://ledger:it's%20secret@db:5433/ledger?sslmode=require&keepalives=0"
    done = run("database-url", "--env", DATABASE_URL=url)
    printed = subprocess.run(
        ["/bin/sh", "-c", f"{done.stdout}\nenv | grep ^PG"], capture_output=True, text=True, check=True, env={}
    )
    assert set(printed.stdout.splitlines()) == {
        "PGUSER=ledger",
        "PGPASSWORD=it's secret",
        "PGHOST=db",
        "PGPORT=5433",
        "PGDATABASE=ledger",
        "PGSSLMODE=require",
    }
    assert done.stderr == "keepalives has no environment variable; it is left out\n"


def test_how_long_a_source_may_be_silent_is_told_of_each(folder: Path) -> None:
    file = folder / "presence-ledger.toml"
    asked = 'nodes = [{ name = "n1", api_url = "http://n1:5001" }]'
    file.write_text(f'[[sources]]\nname = "main"\n{asked}\n[[sources]]\nname = "east"\n')
    told = json.loads(run("--json").stdout)["settings"]
    assert told["policy.dark_seconds"] == {"value": 900, "origin": "default"}
    assert told["sources[0].policy.dark_seconds"] == {"value": 900, "origin": "default"}
    why = "default: none of its nodes has an api_url"
    assert told["sources[1].policy.dark_seconds"] == {"value": 0, "origin": why}
    variable = "PRESENCE_LEDGER_POLICY_DARK_SECONDS"
    told = json.loads(run("--json", POLICY_DARK_SECONDS="60").stdout)["settings"]
    for key in ("policy", "sources[0].policy", "sources[1].policy"):
        assert told[f"{key}.dark_seconds"] == {"value": 60, "origin": variable}


def test_a_file_whose_secrets_others_can_read_is_told(folder: Path) -> None:
    file = folder / "presence-ledger.toml"
    file.chmod(0o644)
    assert f"other users can reach {file} (mode 0644); chmod 600 {file}" in run().stderr
    file.chmod(0o600)
    assert "other users" not in run().output


def test_an_embedded_database_that_does_not_run_has_no_url(folder: Path) -> None:
    (folder / "presence-ledger.toml").unlink()
    result = call("config", "database-url")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "is not running.\nStart the service" in result.stderr


def test_every_node_gets_lines_for_its_own_file() -> None:
    n1, n2, east = pasted()
    assert (n1["file"], n2["file"], east["file"]) == ("wk.yaml", "wukongim.toml", "wk.yaml")
    url = "http://127.0.0.1:8640/hooks/main"
    assert n1["lines"].endswith(f'\nwebhook:\n  httpAddr: "{url}/n1/newest-secret"')
    assert tomllib.loads(n2["lines"]) == {"webhook": {"http_addr": f"{url}/n2/newest-secret"}}
    assert "gRPC webhooks are not supported" in n1["lines"]


def test_the_lines_on_the_screen_are_those_of_the_json() -> None:
    result = run("wukongim", "--url", "https://ledger.example/")
    assert result.stdout == "\n\n".join(paste["lines"] for paste in pasted("--url", "https://ledger.example")) + "\n"
    assert '"https://ledger.example/hooks/main/n1/newest-secret"' in result.stdout
    assert result.stderr == ""


def test_one_node_can_be_chosen() -> None:
    assert [paste["node"] for paste in pasted("--source", "main", "--node", "n2")] == ["n2"]
    assert [paste["source"] for paste in pasted("--node", "n1")] == ["main", "east"]


def test_a_secret_that_nobody_set_is_made_once_and_kept(folder: Path) -> None:
    (first,), (second,) = pasted("--source", "east"), pasted("--source", "east")
    kept = (folder / "presence-ledger-data" / "webhook-east.secret").read_text().strip()
    assert len(kept) == 43
    assert first["webhook_url"] == second["webhook_url"] == f"http://127.0.0.1:8640/hooks/east/n1/{kept}"
    assert (folder / "presence-ledger-data" / "webhook-east.secret").stat().st_mode & 0o777 == 0o600


def test_a_secret_that_is_set_touches_no_folder(folder: Path) -> None:
    pasted("--source", "main")
    assert not (folder / "presence-ledger-data").exists()


@pytest.mark.parametrize(
    ("listen", "url"),
    [("0.0.0.0:1", "http://127.0.0.1:1"), ("[::]:1", "http://[::1]:1"), ("10.0.0.5:1", "http://10.0.0.5:1")],
)
def test_without_an_address_the_lines_are_for_this_machine(listen: str, url: str) -> None:
    result = run("wukongim", "--node", "n2", LISTEN=listen)
    assert f'http_addr = "{url}/hooks/main/n2/newest-secret"' in result.stdout
    assert "give --url" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--source", "west"), "choose from main/n1, main/n2, east/n1"),
        (("--url", "ledger.example"), "must be an address"),
        (("--url", 'http://h/"x'), "must be an address"),
    ],
)
def test_a_wrong_choice_is_told(arguments: tuple[str, ...], message: str) -> None:
    result = call("config", "wukongim", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "newest-secret" not in result.output
