"""Checks what a running service tells those who run it: health, metrics, sources, keys made and revoked, tiers set.

It asks no node, so that nothing is recorded of a user but what is done here.
"""

import json
import stat

import pytest

from tests.support.service import KEYS, Api, Service, segment, wait_for


def command(service: Service, *arguments: str) -> str:
    """What the command line prints, asked of the running service."""
    done = service.command(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_health_needs_no_key(service: Service) -> None:
    with Api(service, None) as api:
        assert api.get("/health/live").keys() == {"status", "instance", "ledger"}
        ready = api.get("/health/ready")
        assert (ready["status"], ready["head"] >= 2) == ("ready", True)
        # One machine, one clock.
        assert (ready["warnings"], abs(ready["database_clock_offset_seconds"]) < 1) == ([], True)


def test_metrics_count_without_naming_a_user(api: Api) -> None:
    api.deliver("counted-user-0-1-1-1-1")
    answer = api.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'presence_ledger_webhook_deliveries_total{node="n1",outcome="accepted",source="main"}' in answer.text
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
        wait_for(lambda: api.http.get("/v1/presence").status_code == 200)
        assert api.http.get("/v1/sources").status_code == 403
        command(service, "keys", "revoke", "phone-app")
        wait_for(lambda: api.http.get("/v1/presence").status_code == 401)
    assert key not in service.log()


@pytest.mark.parametrize("uid", ["tiered", "a/b", "用户", ".."])
def test_a_tier_is_an_event_of_the_user(api: Api, uid: str) -> None:
    path = f"/v1/users/{segment(uid)}/tier"
    assert api.get(path) == {"uid": uid, "tier": None}
    for version, tier in enumerate(("vip", "cold", "normal", None), 1):
        answer = api.http.put(path, json={"tier": tier})
        assert api.get(path) == {"uid": uid, "tier": tier}
        [*_, event] = api.events(uid)
        assert answer.json() == {"uid": uid, "tier": tier, "position": event["position"]}
        told = {name: event[name] for name in ("kind", "verdict", "rule", "tier", "by", "version")}
        assert told == {
            "kind": "tier_set",
            "verdict": "tier_set",
            "rule": "tier_set_by_api",
            "tier": tier,
            "by": "admin",
            "version": version,
        }
    # Nobody is observed by it.
    presence = api.presence(uid)
    assert (presence["status"], presence["reason"], presence["version"]) == ("unknown", "never_observed", 4)


def test_a_tier_says_who_set_it(service: Service, api: Api) -> None:
    key = command(service, "keys", "create", "on-call", "--scope", "admin").split()[0]
    with Api(service, key) as other:
        wait_for(lambda: other.http.get("/v1/sources").status_code == 200)
        assert other.http.put("/v1/users/by/tier", json={"tier": "vip"}).status_code == 200
    assert [event["by"] for event in api.events("by")] == ["on-call"]
    assert key not in service.log()


def test_a_tier_keeps_the_status(api: Api) -> None:
    api.deliver("kept-0-1-1-1-1")
    before = api.presence("kept")
    api.http.put("/v1/users/kept/tier", json={"tier": "vip"})
    after = api.presence("kept")
    assert (after["status"], after["since"], after["cause"]) == ("online", before["since"], before["cause"])
    assert after["version"] == before["version"] + 1


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
