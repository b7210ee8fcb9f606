"""Checks the commands that an operator uses alongside a running service, from the first start to the paste."""

import json
from pathlib import Path

import httpx2
import psycopg

from tests.support.service import PRESENCE_EVENT, Api, new_service

UNSET = '[[sources]]\nname = "main"\nprofile = "v3"\n[[sources.nodes]]\nname = "n1"\n'


def test_from_the_first_start_to_the_paste_for_wukongim(data_dir: Path, tmp_path: Path) -> None:
    with new_service(tmp_path, data_dir, tables=UNSET) as service:
        # Nobody has set a secret: the first start makes one.
        service.start()
        [paste] = json.loads(service.command("config", "wukongim", "--json").stdout)
        posted = httpx2.post(
            f"{paste['webhook_url']}?event={PRESENCE_EVENT}", content=b'["first-0-1-1-1-1"]', trust_env=False
        )
        assert (posted.status_code, posted.content) == (200, b"")
        assert "online" in service.command("status", "first").stdout
        [event] = json.loads(service.command("history", "first", "--json").stdout)["items"]
        assert (event["uid"], event["verdict"]) == ("first", "opened")
        url = service.command("config", "database-url").stdout.strip()
        with psycopg.connect(url) as database:
            assert database.execute("SELECT count(*) FROM events WHERE stream LIKE '%first'").fetchone() == (1,)
        status = service.command("migrate", "--status")
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
        before = service.command("status", "u")
        assert (before.returncode, "presence-ledger serve" in before.stderr) == (1, True)
        service.start()
        assert service.command("status", "u").returncode == 0
        service.stop()
        after = service.command("status", "u")
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
