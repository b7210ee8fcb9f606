"""An operator's word on a running service: shown everywhere, on record with its author, judged by nowhere."""

import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.support.service import KEYS, Api, wait_for
from tests.support.streams import FrontedService, Told, fronted

WORD: dict[str, Any] = {"status": "offline", "reason": "phone lost, ticket 4711", "expires_seconds": 3600}


@pytest.fixture(scope="module")
def service(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontedService]:
    folder = tmp_path_factory.mktemp("service")
    with fronted(folder, folder / "data", database_url=module_database_url) as service:
        service.start()
        yield service


def put(api: Api, uid: str, **changed: Any) -> Any:
    answer = api.http.put(f"/v1/users/{uid}/override", json=WORD | changed)
    assert answer.status_code == 200, answer.text
    return answer.json()


def cause(presence: Any) -> tuple[str, str]:
    return presence["status"], presence["cause"]["kind"]


def test_whoever_asks_is_shown_it_and_who_said_it(api: Api) -> None:
    api.deliver("asked-0-1-1-1-1")
    before = api.http.get("/v1/users/asked/presence")
    said = put(api, "asked", until_evidence=False)
    assert {name: said[name] for name in ("status", "reason")} == {name: WORD[name] for name in ("status", "reason")}
    assert (said["uid"], said["by"]) == ("asked", "admin")
    presence = api.presence("asked")
    assert presence["cause"] == {"kind": "override", "at": said["since"], "position": said["position"]}
    assert (presence["status"], presence["since"], presence["reason"]) == ("offline", said["since"], None)
    assert presence["devices"] == before.json()["devices"]
    changed = api.http.get("/v1/users/asked/presence", headers={"If-None-Match": before.headers["etag"]})
    assert changed.status_code == 200
    [queried] = api.http.post("/v1/presence/query", json={"uids": ["asked"]}).json()["items"]
    listed = {each["uid"]: each for each in api.pages("/v1/presence", status="offline")}
    assert cause(queried) == cause(listed["asked"]) == ("offline", "override")
    assert "asked" not in {each["uid"] for each in api.pages("/v1/presence", status="online")}
    [reached] = api.http.post("/v1/reach/query", json={"uids": ["asked"]}).json()["items"]
    assert (reached["push"], reached["because"], reached["certain"]) == (True, "override", False)
    then = api.get("/v1/users/asked/presence", at=presence["as_of"]["at"], position=presence["as_of"]["position"])
    assert then == presence
    earlier = before.json()["as_of"]
    assert api.get("/v1/users/asked/presence", at=earlier["at"])["cause"]["kind"] == "webhook"
    assert api.get("/v1/presence/summary")["users"]["offline"] == len(listed)
    assert api.http.delete("/v1/users/asked/override").json()["uid"] == "asked"
    assert api.presence("asked")["cause"] == before.json()["cause"]
    assert api.http.delete("/v1/users/asked/override").status_code == 404


def test_it_is_on_record_and_is_told_and_explained(api: Api, service: FrontedService) -> None:
    api.deliver("told-0-1-2-1-1")
    put(api, "told", until_evidence=True)
    shown = api.presence("told")["as_of"]
    api.deliver("told-0-1-3-2-2")
    *_, word, item, ended = api.events("told")
    assert [each["kind"] for each in (word, item, ended)] == ["override_set", "webhook_observed", "override_ended"]
    assert (word["by"], word["reason"], word["status"], word["until_evidence"]) == (
        "admin", WORD["reason"], "offline", True,
    )  # fmt: skip
    assert (item["status_before"], item["status_after"]) == ("online", "online")
    assert (ended["why"], ended["received_at"], ended["by"]) == ("evidence", item["received_at"], None)
    assert cause(api.presence("told")) == ("online", "webhook")
    api.wait_for_projections()
    story = api.get("/v1/users/told/timeline")["items"]
    assert [each["kind"] for each in story] == ["transition", "override", "sessions", "override_ended"]
    told = api.get("/v1/users/told/explain", at=shown["at"])
    assert (told["status"], told["cause"]["kind"], told["confidence"]) == ("offline", "override", "doubtful")
    assert told["statements"][0]["params"]["reason"] == WORD["reason"]
    assert "override_evidence" in [each["code"] for each in told["statements"]]
    chinese = api.get("/v1/users/told/explain", at=shown["at"], lang="zh")["statements"][0]["text"]
    assert "人工指定" in chinese
    for command in (("history", "told"), ("timeline", "told"), ("explain", "told", "--at", shown["at"])):
        done = service.command(*command)
        assert (done.returncode, WORD["reason"] in done.stdout) == (0, True), done.stderr


def test_it_ends_at_its_instant_for_whoever_watches(api: Api, service: FrontedService) -> None:
    api.deliver("watched-0-1-4-1-1")

    def shown(told: Told, status: str) -> bool:
        return told.event == "presence" and told.data["uid"] == "watched" and told.data["status"] == status

    with service.stream("watched") as stream, service.stream() as everybody:
        for each in (stream, everybody):
            each.until("ready")
        put(api, "watched")
        for each in (stream, everybody):
            told = each.until(partial(shown, status="offline"))[-1].data
            assert (cause(told), told["previous"]["status"]) == (("offline", "override"), "online")
        # However slow the machine is: they are shown offline until this one ends.
        said = put(api, "watched", expires_seconds=1)
        for each in (stream, everybody):
            back = each.until(partial(shown, status="online"))[-1].data
            assert (cause(back), back["previous"]["status"]) == (("online", "webhook"), "offline")
            assert back["as_of"]["at"] >= said["expires_at"]
    wait_for(lambda: api.events("watched")[-1]["kind"] == "override_ended", lambda: api.events("watched"))
    ended = api.events("watched")[-1]
    assert (ended["why"], ended["received_at"]) == ("expired", said["expires_at"])


def test_the_command_says_it_and_ends_it(api: Api, service: FrontedService) -> None:
    api.deliver("said-0-1-5-1-1")
    done = service.command("override", "said", "offline", "--reason", "phone lost", "--for", "2h", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["position"] == api.events("said")[-1]["position"]
    assert cause(api.presence("said")) == ("offline", "override")
    assert service.command("override", "said", "--end").returncode == 0
    assert cause(api.presence("said")) == ("online", "webhook")
    failed = service.command("override", "said", "--end")
    assert (failed.returncode, "404" in failed.stderr) == (1, True)


@pytest.mark.parametrize(
    ("uid", "body", "field"),
    [
        ("never-seen", WORD, "uid"),
        ("known", {**WORD, "status": "away"}, "status"),
        ("known", {**WORD, "status": "unknown"}, "status"),
        ("known", {"status": "online", "reason": "r"}, "expires_seconds"),
        ("known", {**WORD, "expires_seconds": None}, "expires_seconds"),
        ("known", {**WORD, "expires_seconds": 0}, "expires_seconds"),
        ("known", {**WORD, "expires_seconds": -5}, "expires_seconds"),
        ("known", {**WORD, "expires_seconds": 31 * 86_400}, "expires_seconds"),
        ("known", {**WORD, "expires_seconds": "3600"}, "expires_seconds"),
        ("known", {**WORD, "expires_seconds": True}, "expires_seconds"),
        ("known", {**WORD, "reason": ""}, "reason"),
        ("known", {**WORD, "reason": "\0"}, "reason"),
        ("known", {**WORD, "reason": "r" * 1_001}, "reason"),
        ("known", {"status": "online", "expires_seconds": 60}, "reason"),
        ("known", {**WORD, "until_evidence": "yes"}, "until_evidence"),
        ("known", {**WORD, "author": "me"}, "author"),
        ("known", [], "body"),
    ],
)
def test_a_bad_word_names_its_field_and_changes_nothing(api: Api, uid: str, body: Any, field: str) -> None:
    if not api.events("known"):
        api.deliver("known-0-1-6-1-1")
    head = api.head()
    answer = api.http.put(f"/v1/users/{uid}/override", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["errors"][0]["field"] == field
    assert [each for each in api.since(head) if each["kind"].startswith("override")] == []


def test_it_takes_an_admin(service: FrontedService, api: Api) -> None:
    api.deliver("kept-0-1-7-1-1")
    for name in ("read", "audit"):
        with Api(service, KEYS[name]) as other:
            assert other.http.put("/v1/users/kept/override", json=WORD).status_code == 403
            assert other.http.delete("/v1/users/kept/override").status_code == 403
    assert cause(api.presence("kept")) == ("online", "webhook")


def test_it_holds_over_a_restart_and_ends_while_nobody_runs(service: FrontedService, api: Api) -> None:
    api.deliver("long-0-1-8-1-1", "short-0-1-9-1-1")
    put(api, "long")
    said = put(api, "short", expires_seconds=1)
    shown = api.presence("short")
    service.stop()
    time.sleep(1.0)
    service.start()
    assert cause(api.presence("long")) == ("offline", "override")
    assert cause(api.presence("short")) == ("online", "webhook")
    ended = wait_for(lambda: [each for each in api.events("short") if each["kind"] == "override_ended"])
    assert ended[0]["received_at"] == said["expires_at"]
    place = {"at": shown["as_of"]["at"], "position": shown["as_of"]["position"]}
    assert api.get("/v1/users/short/presence", **place) == shown
