"""PostgreSQL away, as senders and operators see it: webhooks are taken all the same, over a kill, none twice."""

import json
from pathlib import Path
from typing import Any

from tests.support.external import ExternalPostgres
from tests.support.load import Load, check_ledger
from tests.support.service import MAIN, Api, new_service, wait_for

SPOOL_BYTES = 64 * 1_048_576


def test_while_postgresql_is_away_every_webhook_is_taken_and_a_kill_loses_none(
    external: ExternalPostgres, tmp_path: Path
) -> None:
    url = external.url("ledger")
    tables = MAIN + "\n[alerts]\nevaluate_seconds = 0.2\nclear_seconds = 0\nstore_unavailable_for_seconds = 0\n"
    with new_service(
        tmp_path, tmp_path / "data", database_url=url, spool_bytes=SPOOL_BYTES, store_wait_seconds=60.0,
        stale_seconds=3600.0, tables=tables,
    ) as service:  # fmt: skip
        service.start()
        with Load([(service.port, service.hook_path())], pairs=5) as load, Api(service) as api:
            load.wait_for(10)
            api.deliver("kept-0-1-1-1-1")
            api.wait_until_remembered()
            external.stop("immediate")
            wait_for(lambda: api.counted("webhook_deliveries", outcome="spooled") > 20)
            ready = api.get("/health/ready")
            assert (ready["status"], ready["head"]) == ("spooling", None)
            assert ready["spooling"]["deliveries"] > 20
            assert 0 < ready["spooling"]["bytes"] <= ready["spooling"]["max_bytes"] == SPOOL_BYTES
            assert ready["spooling"]["since"] is not None
            assert "presence_ledger_spooling 1.0" in api.http.get("/metrics").text
            stale = assert_answers_from_memory(api)
            wait_for(lambda: '"store_unavailable"' in service.log() and "alert_began" in service.log(), service.log)
            assert api.counted("webhook_deliveries", outcome="store_unavailable") == 0
        assert load.outcomes().keys() == {"acknowledged"}
        service.kill()
        assert list((tmp_path / "data" / "spool").glob("*.spool"))
        external.start()
        service.start()
        with Load([(service.port, service.hook_path())], pairs=5, name="later") as later, Api(service) as api:
            later.wait_for(10)
            # What comes while the spool is being emptied comes behind it, and is committed again in the end.
            wait_for(lambda: api.ready()["spooling"] is None, api.ready)
            later.wait_for(10)
        with Api(service) as api:
            wait_for(lambda: api.ready()["spooling"] is None, api.ready)
            events = check_ledger(api)
            for each in (load, later):
                assert each.broken_promises(events) == []
            received = [event for event in events if event["kind"] == "delivery_received"]
            assert any(event.get("spooled") for event in received)
            # What was told meanwhile stands, by the instant and the position that it was told of.
            as_of = stale.pop("as_of")
            then = api.get("/v1/users/kept/presence", **as_of)
            assert then | {"verified_at": None} == stale | {"as_of": as_of}
            assert "stale_since" not in api.presence("kept")
            # Of one node, in the order in which they came.
            instants = [event["received_at"] for event in received]
            assert instants == sorted(instants)
            assert list((tmp_path / "data" / "spool").iterdir()) == []
        assert service.stop().code == 0


def test_an_outage_in_which_webhooks_were_spooled_is_a_blind_time_of_that_kind(
    external: ExternalPostgres, tmp_path: Path
) -> None:
    url = external.url("ledger")
    tables = MAIN + "\n[alerts]\nevaluate_seconds = 0.2\nclear_seconds = 0\nstore_unavailable_for_seconds = 0\n"
    tables += "spool_growing_share = 0.000000001\n"
    with new_service(tmp_path, tmp_path / "data", database_url=url, spool_bytes=SPOOL_BYTES, tables=tables) as service:
        service.start()
        with Api(service) as api:
            api.deliver("u-0-1-1-1-1")
            external.stop("immediate")
            api.deliver("u-0-0-1-0-0")
            wait_for(lambda: _has_begun(service.log()), service.log)
            wait_for(lambda: _has_begun(service.log(), "spool_growing"), service.log)
            external.start()
            wait_for(lambda: api.ready()["spooling"] is None, api.ready)
            assert api.presence("u")["status"] == "offline"
            wait_for(lambda: api.get("/v1/blind")["items"], api.ready)
            wait_for(lambda: api.get("/v1/blind")["items"][0]["until"], lambda: api.get("/v1/blind"))
            blind = api.get("/v1/blind")
            assert [each["kind"] for each in blind["items"]] == ["spooling"]
            assert blind["totals"][0]["by_kind"]["spooling"] > 0
            [late] = [event for event in api.events("u") if event["raw"] == "u-0-0-1-0-0"]
            assert late["verdict"] == "closed"
            delivery = api.get(f"/v1/deliveries/{late['delivery']}")
            # By the spool, unless the attempt that it did not wait for found PostgreSQL back.
            assert delivery["delivery"]["received_at"] == late["received_at"]
            growing = wait_for(lambda: [each for each in _over(api) if each["name"] == "spool_growing"], service.log)
            assert [(each["source"], each["figures"]["webhooks"]) for each in growing] == [(None, 1)]
            # What is known now of the time before PostgreSQL was back.
            assert api.get("/v1/users/u/presence", at=late["received_at"])["status"] == "offline"


def assert_answers_from_memory(api: Api) -> dict[str, Any]:
    """Who is remembered is answered, marked; what needs the ledger is not -> the presence of `kept`."""
    answer = api.http.get("/v1/users/kept/presence")
    assert answer.status_code == 200, answer.text
    stale: dict[str, Any] = answer.json()
    assert (stale["status"], stale["version"], stale["verified_at"]) == ("online", 1, None)
    assert stale.pop("stale_since") <= stale["as_of"]["at"]
    assert int(answer.headers["Age"]) >= 0
    unchanged = api.http.get("/v1/users/kept/presence", headers={"If-None-Match": answer.headers["ETag"]})
    assert unchanged.status_code == 304
    many = api.http.post("/v1/presence/query", params={"fields": "status"}, json={"uids": ["kept", "nobody"]})
    told = many.json()["items"]
    assert [(each["uid"], each["status"]) for each in told] == [("kept", "online"), ("nobody", "unknown")]
    assert all("stale_since" in each for each in told)
    assert "Age" in many.headers
    assert api.gauge("answering_from_memory") == 1
    for path in ("/v1/users/kept/presence?at=2026-11-23T14:03:00Z", "/v1/presence", "/v1/presence/summary"):
        assert api.http.get(path).status_code == 503, path
    return stale


def _has_begun(log: str, name: str = "store_unavailable") -> bool:
    lines = [json.loads(line) for line in log.splitlines() if '"alert_began"' in line]
    return any(line["name"] == name for line in lines)


def _over(api: Api) -> list[Any]:
    return list(api.pages("/v1/alerts", state="resolved"))
