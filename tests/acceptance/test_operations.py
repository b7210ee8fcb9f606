"""Checks what a running service tells those who run it: health, metrics, sources, keys made and revoked."""

import json
import stat
import subprocess
import sys

from tests.support.service import KEYS, Api, Service, wait_for


def command(service: Service, *arguments: str) -> str:
    """What the command line prints, asked beside the running service."""
    done = subprocess.run(
        [sys.executable, "-m", "ledger", "--config", str(service.config), *arguments],
        env=service.environment(),
        cwd=service.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_health_needs_no_key(service: Service) -> None:
    with Api(service, None) as api:
        assert api.get("/health/live") == {"status": "live"}
        ready = api.get("/health/ready")
        assert (ready["status"], ready["head"] >= 2) == ("ready", True)
        # One machine, one clock.
        assert (ready["warnings"], abs(ready["database_clock_offset_seconds"]) < 1) == ([], True)


def test_metrics_count_without_naming_a_user(api: Api) -> None:
    api.deliver("counted-user-0-1-1-1-1")
    answer = api.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'presence_ledger_webhooks_accepted_total{node="n1",source="main"}' in answer.text
    assert "counted-user" not in answer.text


def test_sources_as_the_ledger_has_them(api: Api) -> None:
    api.deliver("source-0-1-77-1-1")
    [source] = api.get("/v1/sources")["items"]
    [node] = source["nodes"]
    assert (source["name"], source["profile"], node["name"], node["profile"]) == ("main", "v2.2", "n1", "v2.2")
    assert node["highest_conn_id"] == 77
    assert source["last_webhook_at"] == node["last_webhook_at"] == api.events("source")[0]["received_at"]
    assert node["since_start"]["accepted"] >= 1
    assert (source["dark_since"], node["down_since"]) == (None, None)
    assert (source["health"], node["api"]) == ("unreconciled", {"configured": False, "health": None})
    assert source["reasons"] == ["no node has an api_url: what webhooks miss stays unseen"]
    assert (source["breaker"], source["webhooks_silent"]) == ({"open": False, "until": None}, False)
    assert (source["open_runs"], source["retired_nodes"], node["boot"]) == ([], [], None)


def test_a_key_made_by_the_command_works_until_it_is_revoked(service: Service) -> None:
    key = command(service, "keys", "create", "phone-app", "--scope", "read").split()[0]
    with Api(service, key) as api:
        wait_for(lambda: api.http.get("/v1/presence").status_code == 200, 10)
        assert api.http.get("/v1/sources").status_code == 403
        command(service, "keys", "revoke", "phone-app")
        wait_for(lambda: api.http.get("/v1/presence").status_code == 401, 10)
    assert key not in service.log()


def test_the_admin_key_is_the_data_folders_secret(service: Service) -> None:
    file = service.data_dir / "admin.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(service.data_dir.stat().st_mode) == 0o700
    with Api(service, file.read_text(encoding="utf-8").strip()) as api:
        assert api.http.get("/v1/sources").status_code == 200


def test_the_command_line_asks_the_running_service(service: Service, api: Api) -> None:
    api.deliver("asked-0-1-1-1-1", "asked-0-0-1-0-0")
    [shown] = json.loads(command(service, "status", "asked", "--json"))["items"]
    assert (shown["uid"], shown["status"]) == ("asked", "offline")
    history = command(service, "history", "asked")
    assert "opened" in history
    assert "closed" in history
    assert KEYS["admin"] not in history
