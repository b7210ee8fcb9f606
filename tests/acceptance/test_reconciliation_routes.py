"""Checks the routes of reconciliation on a running service: runs, drifts, how sources fare."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.im_node import ImNode, im_node
from tests.support.service import MAIN, Api, Service, new_service, source_table, wait_for

UNREACHED = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def node() -> Iterator[ImNode]:
    with im_node() as node:
        yield node


@pytest.fixture(scope="module")
def service_settings(node: ImNode) -> dict[str, Any]:
    webhooks_only = source_table("webhooks-only", {"n1": ""}, profile="v3")
    return {"tables": "[policy]\nconfirm_seconds = 0.5\n" + source_table("main", {"n1": node.url}) + webhooks_only}


@pytest.fixture(scope="module")
def service(service: Service) -> Service:
    """An instance that reconciles one source of two, and has begun to."""
    with Api(service) as api:
        wait_for(lambda: api.source_events("run_ended"), service.log)
    return service


def requested(api: Api, source: str = "main", **body: Any) -> httpx2.Response:
    return api.http.post(f"/v1/sources/{source}/reconcile", json=body)


def ended(api: Api, run: str) -> Any:
    """A run once it has ended."""
    path = f"/v1/runs/{run}"
    wait_for(lambda: api.get(path)["state"] != "running", api.service.log)
    return api.get(path)


def test_a_run_over_users_is_begun_and_can_be_followed(api: Api, node: ImNode) -> None:
    api.deliver(node.connect("known"))
    node.connect("missed")
    answer = requested(api, uids=["known", "missed", "known"])
    run = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/runs/{run['run']}")
    assert (run["source"], run["scope"], run["users"]) == ("main", "manual", 2)
    end = ended(api, run["run"])
    assert {**end, **{name: run[name] for name in ("state", "ended_at", "duration_seconds", "counts")}} == run
    counts = end["counts"]
    assert (end["state"], counts["looked"], counts["failed"], end["failures"]) == ("completed", 2, 0, {})
    assert counts["agreed"] + counts["drifted"] == 2
    assert end["ended_at"] > end["started_at"]
    begun, over = (
        [event for event in api.source_events(kind) if event["run"] == run["run"]]
        for kind in ("run_started", "run_ended")
    )
    assert [(event["position"], event["uids"]) for event in begun] == [(run["position"], ["known", "missed"])]
    assert [(event["at"], event["counts"]) for event in over] == [(end["ended_at"], counts)]
    assert (api.presence("missed")["status"], api.presence("known")["verified_at"] is not None) == ("online", True)


@pytest.mark.parametrize("body", [b"", b" \n", b"{}", b'{"uids": null}'], ids=["none", "blank", "empty", "null"])
def test_a_run_over_everybody(api: Api, body: bytes) -> None:
    answer = api.http.post("/v1/sources/main/reconcile", content=body)
    assert (answer.status_code, answer.json()["scope"]) == (202, "manual"), answer.text
    end = ended(api, answer.json()["run"])
    assert (end["state"], end["counts"]["failed_polls"]) == ("completed", 0)


@pytest.mark.parametrize("uid", ["nobody", "用户-\n", "x" * 1024, "'; DROP TABLE looks; --"])
def test_somebody_whom_nobody_knows_is_looked_at_and_the_answer_recorded(api: Api, uid: str) -> None:
    assert api.presence(uid)["reason"] == "never_observed"
    end = ended(api, requested(api, uids=[uid]).json()["run"])
    assert (end["counts"]["looked"], end["counts"]["failed"]) == (1, 0)
    presence = api.presence(uid)
    assert (presence["status"], presence["devices"]) == ("offline", [])
    assert presence["verified_at"] is not None
    [event] = api.events(uid)
    assert (event["kind"], event["verdict"], event["run"], event["drift"]) == (
        "corrected",
        "corrected",
        end["run"],
        None,
    )
    assert (event["status_before"], event["status_after"]) == ("unknown", "offline")


def test_runs_page_by_page_in_the_order_of_their_begin(api: Api) -> None:
    made = [ended(api, requested(api, uids=["page"]).json()["run"]) for _ in range(5)]
    listed = list(api.pages("/v1/sources/main/runs", limit=2))
    positions = [run["position"] for run in listed]
    assert positions == sorted(set(positions))
    assert {run["source"] for run in listed} == {"main"}
    assert [run for run in listed if run["run"] in {each["run"] for each in made}] == made
    # It may have begun another run meanwhile.
    later = api.get("/v1/sources/main/runs", after=positions[-1])["items"]
    assert all(run["position"] > positions[-1] for run in later)
    assert api.get("/v1/sources/main/runs", after=10**15) == {"items": [], "next": None}
    assert api.get("/v1/sources/webhooks-only/runs") == {"items": [], "next": None}


def test_drifts_are_found_by_what_they_are(api: Api, node: ImNode) -> None:
    api.deliver(*(node.connect(f"ghost-{number}") for number in range(3)))
    for number in range(3):
        node.close(f"ghost-{number}")
        node.connect(f"missed-{number}")
    for prefix in ("ghost", "missed"):
        requested(api, uids=[f"{prefix}-{number}" for number in range(3)])
    ghosts, missed = [f"ghost-{n}" for n in range(3)], [f"missed-{n}" for n in range(3)]
    wait_for(lambda: {api.presence(uid)["status"] for uid in ghosts} == {"offline"}, api.service.log)
    api.wait_for_projections()

    def uids(**wanted: Any) -> list[str]:
        found = [drift["uid"] for drift in api.pages("/v1/drift", **wanted)]
        return sorted(uid for uid in found if uid.startswith(("ghost-", "missed-")))

    assert uids() == uids(state="corrected") == uids(source="main") == uids(limit=1) == ghosts + missed
    assert uids(kind="ghost") == ghosts
    assert uids(kind="missed", node="n1") == missed
    assert uids(uid="ghost-1") == ["ghost-1"]
    for nothing in ({"state": "held"}, {"source": "elsewhere"}, {"node": "n2"}, {"uid": "a\0b"}):
        assert api.get("/v1/drift", **nothing) == {"items": [], "next": None}
    unstorable = api.http.get("/v1/drift", params={"source": "\0"})
    assert (unstorable.status_code, unstorable.json()["errors"][0]["field"]) == (422, "source")
    for drift in api.pages("/v1/drift", kind="ghost"):
        events = api.events(drift["uid"])
        [corrected] = [event for event in events if event["verdict"] == "corrected"]
        assert (drift["agreed_at"], drift["disagreed_at"]) == (corrected["agreed_at"], corrected["disagreed_at"])
        assert drift["agreed_at"] < drift["disagreed_at"] < drift["ended_at"] == corrected["received_at"]
        assert drift["position"] < drift["last_position"] < corrected["position"]
        assert corrected["closed"] == [{"node": None, "device_flag": 0, "conn_id": events[0]["conn_id"]}]
        assert uids(attributed_to=drift["attributed_to"]).count(drift["uid"]) == 1
        [told] = [event for event in api.source_events("poll_observed") if event["position"] == drift["position"]]
        [finding] = [finding for finding in told["findings"] if finding["uid"] == drift["uid"]]
        assert (finding["drift"], finding["outcome"], finding["agreed_at"]) == ("ghost", "open", drift["agreed_at"])


def test_drifts_are_counted(api: Api) -> None:
    def counted() -> bool:
        """Whether list and sums agree; another drift may be found between the questions."""
        sums = []
        for names in (["kind"], ["hour", "state", "attributed_to"], ["node", "source", "node"]):
            groups = list(api.pages("/v1/drift/summary", by=names, limit=1))
            if groups != api.get("/v1/drift/summary", by=names)["items"]:
                return False
            sums.append(sum(group["open"] + group["closed"] for group in groups))
        return sums == [len(list(api.pages("/v1/drift")))] * 3

    wait_for(counted)
    for wrong in ({"by": "colour"}, {"after": "IQ"}, {"from": "2002-01-01T00:00:00Z", "to": "2001-01-01T00:00:00Z"}):
        assert api.http.get("/v1/drift/summary", params=wrong).status_code == 422


def test_what_no_webhook_told_is_counted_as_lost(service: Service, api: Api, node: ImNode) -> None:
    def counted() -> Any:
        [main] = api.get("/v1/loss", source="main")["items"]
        return main

    before = counted()
    told = node.connect("told")
    api.deliver(told)
    node.connect("never-told")
    ended(api, requested(api, uids=["told", "never-told"]).json()["run"])
    wait_for(lambda: counted()["lost"] > before["lost"] and counted()["told"] > before["told"], counted)
    # The budget is counted less often where that takes long.
    wait_for(lambda: counted()["budget"]["lost"] == counted()["lost"], counted)
    main = counted()
    assert main["lost"] == sum(main["lost_by"].values()) == main["transitions"] - main["told"]
    assert main["interval"]["lower"] < main["share"] < main["interval"]["upper"]
    assert [each["node"] for each in main["nodes"]] == ["n1"]
    assert sum(hour["lost"] for hour in main["hours"]) == main["lost"]
    assert main["budget"]["left"] < 0
    assert main["detection_floor"]["looked_at"]
    assert {each["source"] for each in api.get("/v1/loss")["items"]} == {"main", "webhooks-only"}
    assert api.get("/v1/loss", source="elsewhere")["items"] == []
    early = api.get("/v1/loss", to="2026-01-01T00:00:00Z")
    assert (early["from"], early["items"][0]["transitions"]) == ("2025-12-31T00:00:00.000000Z", 0)
    shown = service.command("loss")
    assert shown.returncode == 0, shown.stderr
    assert "main: " in shown.stdout
    assert json.loads(service.command("loss", "--json").stdout).keys() == {"from", "to", "items", "as_of"}


def test_there_was_no_time_in_which_nobody_could_know(service: Service, api: Api) -> None:
    found = api.get("/v1/blind", source="main")
    assert (found["items"], found["totals"], found["next"]) == ([], [], None)
    assert service.command("blind", "--source", "main").stdout == "none: everything could be known all the time\n"
    assert json.loads(service.command("blind", "--json").stdout)["items"] == []
    for wrong in ({"after": "IQ"}, {"kind": "tea"}, {"from": "2002-01-01T00:00:00Z", "to": "2001-01-01T00:00:00Z"}):
        assert api.http.get("/v1/blind", params=wrong).status_code == 422
    assert api.http.get("/v1/loss", params={"from": "2002-01-01T00:00:00Z"}).status_code == 422


def test_a_source_that_fares_well_says_so(api: Api) -> None:
    def sources() -> Any:
        return {source["name"]: source for source in api.get("/v1/sources")["items"]}

    def good() -> Any:
        found = sources()
        return found if found["main"]["health"] == "good" else None

    found = wait_for(good, sources)
    source, other = found["main"], found["webhooks-only"]
    [node] = source["nodes"]
    assert (source["reasons"], source["webhooks_silent"]) == ([], False)
    assert source["leader"] == api.get("/health/ready")["instance"]
    assert node["boot"]["earliest"] < node["boot"]["latest"]
    health = node["api"]["health"]
    assert (health["breaker"], health["probe_reason"], health["failures_in_a_row"]) == ("closed", None, 0)
    assert health["calls"] > 0
    assert health["last_good_probe_at"]
    assert (other["health"], other["nodes"][0]["api"]["configured"]) == ("unreconciled", False)


def test_the_command_reconciles_and_shows_what_it_found(service: Service, api: Api, node: ImNode) -> None:
    api.deliver(node.connect("asked"))
    node.connect("unheard")
    done = service.command("reconcile", "asked", "unheard", "--source", "main")
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines() if line.startswith("looked")] == [["looked", "2"]]
    _, users, looks = done.stdout.split("\n\n")
    assert [line.split()[:2] for line in users.splitlines()[-2:]] == [["asked", "online"], ["unheard", "online"]]
    assert looks.startswith("POST /user/onlinestatus: rows tell who is connected and who is not")
    [line] = [line for line in service.command("history", "unheard").stdout.splitlines() if "corrected" in line]
    assert "missed, 1 session opened" in line
    told = json.loads(service.command("reconcile", "asked", "--source", "main", "--json").stdout)
    assert told["run"] == api.get(f"/v1/runs/{told['run']['run']}")
    assert [user["uid"] for user in told["users"]] == ["asked"]
    unsaid = service.command("reconcile")
    assert (unsaid.returncode, "name one with --source: main, webhooks-only" in unsaid.stderr) == (2, True)
    refused = service.command("reconcile", "--source", "webhooks-only")
    assert (refused.returncode, "has an api_url" in refused.stderr) == (1, True)


def test_an_api_that_answers_badly_is_told_with_its_reason(database_url: str, tmp_path: Path, node: ImNode) -> None:
    """First nobody answers at the address, then somebody who refuses the token."""
    tables = f'{MAIN}api_url = "{UNREACHED}"\n'
    with new_service(tmp_path, tmp_path / "data", database_url=database_url, tables=tables) as service:
        service.start()
        with Api(service) as api:
            [source] = wait_for(lambda: _degraded(api, "connection refused"), lambda: api.get("/v1/sources"))
            assert source["nodes"][0]["api"]["health"]["last_good_at"] is None
            assert api.http.get("/health/ready").status_code == 200
            failed = service.command("reconcile", "u")
            assert failed.returncode == 1, failed.stdout
            assert "Every poll of run r-" in failed.stderr
            assert failed.stderr.splitlines()[-1].startswith("Look at `api_url` and `token`")
        service.stop()
        with im_node(2001) as refusing:
            refusing.mode = "401"
            service.reconfigure(tables=f'{MAIN}api_url = "{refusing.url}"\n')
            service.start()
            with Api(service) as api:
                run = ended(api, requested(api, uids=["u"]).json()["run"])
                assert (run["counts"]["looked"], run["counts"]["failed"]) == (0, 1)
                assert run["failures"] == {"n1": "401: the token is refused"}
                wait_for(lambda: _degraded(api, "401"), lambda: api.get("/v1/sources"))
                assert api.presence("u")["reason"] == "never_observed"


def _degraded(api: Api, reason: str) -> list[Any]:
    """The source, once it says that its API fails for that reason."""
    [source] = api.get("/v1/sources")["items"]
    named = any(each.startswith("n1: ") and reason in each for each in source["reasons"])
    return [source] if source["health"] == "degraded" and named else []
