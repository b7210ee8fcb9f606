"""Checks the commands that an operator uses alongside a running service, from the first start to the paste."""

import json
import subprocess
from pathlib import Path

import httpx2
import psycopg
import pytest

from tests.support.command import run_process
from tests.support.service import PRESENCE_EVENT, Api, Service, new_service

UNSET = '[[sources]]\nname = "main"\nprofile = "v3"\n[[sources.nodes]]\nname = "n1"\n'


def command(service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As an operator runs it: a process of its own."""
    return run_process("--config", str(service.config), *arguments, folder=service.folder)


@pytest.mark.slow
def test_from_the_first_start_to_the_paste_for_wukongim(data_dir: Path, tmp_path: Path) -> None:
    with new_service(tmp_path, data_dir, tables=UNSET) as service:
        # Nobody has set a secret: the first start makes one.
        service.start()
        [paste] = json.loads(command(service, "config", "wukongim", "--json").stdout)
        posted = httpx2.post(
            f"{paste['webhook_url']}?event={PRESENCE_EVENT}", content=b'["first-0-1-1-1-1"]', trust_env=False
        )
        assert (posted.status_code, posted.content) == (200, b"")
        assert "online" in command(service, "status", "first").stdout
        [event] = json.loads(command(service, "history", "first", "--json").stdout)["items"]
        assert (event["uid"], event["verdict"]) == ("first", "opened")
        url = command(service, "config", "database-url").stdout.strip()
        with psycopg.connect(url) as database:
            assert database.execute("SELECT count(*) FROM events WHERE stream LIKE '%first'").fetchone() == (1,)
        status = command(service, "migrate", "--status")
        assert (status.returncode, "0001_ledger" in status.stdout) == (0, True)
        ended = service.stop()
        secret = paste["webhook_url"].rpartition("/")[2]
        assert secret not in ended.log
        # The same secret after the next start.
        service.start()
        again = httpx2.post(f"{paste['webhook_url']}?event={PRESENCE_EVENT}", content=b"[]", trust_env=False)
        assert again.status_code == 200


def test_a_query_without_a_service_says_how_to_start_one(data_dir: Path, tmp_path: Path) -> None:
    with new_service(tmp_path, data_dir) as service:
        before = command(service, "status", "u")
        assert (before.returncode, "presence-ledger serve" in before.stderr) == (1, True)
        service.start()
        assert command(service, "status", "u").returncode == 0
        service.stop()
        after = command(service, "status", "u")
        assert (after.returncode, len(after.stderr.splitlines())) == (1, 2)


def test_a_change_of_the_rules_is_an_event(database_url: str, tmp_path: Path) -> None:
    with new_service(tmp_path, tmp_path / "data", database_url=database_url) as service:
        service.start().stop()
        service.start().stop()
        text = service.config.read_text(encoding="utf-8").replace(
            "[[sources]]", "[policy]\ngrace_seconds = 7\n[[sources]]", 1
        )
        service.config.write_text(text, encoding="utf-8")
        service.start()
        with Api(service) as api:
            configured = api.source_events("configured")
            assert [event["policy"]["grace_seconds"] for event in configured] == [0, 7]
            assert len(api.source_events("service_started")) == 3
            assert len(api.source_events("service_stopped")) == 2
