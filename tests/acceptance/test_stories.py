"""Checks timeline and sessions on a running service, over HTTP and on the command line."""

import json
from typing import Any

import pytest

from tests.support.service import KEYS, Api, Service, segment, wait_for

UID = "alice/用户"


def followed(api: Api, uid: str, what: str) -> Any:
    """A page, once nothing is left to be taken."""
    path = f"/v1/users/{segment(uid)}/{what}"
    wait_for(lambda: api.get(path)["lag"] == 0, api.service.log)
    return api.get(path)


@pytest.fixture(scope="module", autouse=True)
def story(api: Api) -> None:
    """Two devices, one of them told of twice, and a delivery sent again."""
    app, web = f"{UID}-0-1-1-1-1", f"{UID}-1-1-2-1-2"
    api.deliver(app)
    api.deliver(web)
    api.deliver(web)
    api.deliver(web, app)
    api.deliver(f"{UID}-0-0-1-0-1")
    api.deliver(f"{UID}-1-0-2-0-0", f"{UID}-1-0-2-0-0")
    answer = api.http.put(f"/v1/users/{segment(UID)}/tier", json={"tier": "vip"})
    assert answer.status_code == 200


def test_the_story_is_told(api: Api) -> None:
    page = followed(api, UID, "timeline")
    events = api.events(UID)
    entries = page["items"]
    assert [(entry["kind"], entry["status_before"], entry["status_after"]) for entry in entries] == [
        ("transition", "unknown", "online"),
        ("sessions", "online", "online"),
        ("duplicate", "online", "online"),
        ("sessions", "online", "online"),
        ("transition", "online", "offline"),
        ("duplicate", "offline", "offline"),
        ("tier", "offline", "offline"),
    ]
    folded = entries[2]
    assert (folded["number"], folded["deliveries"], folded["repeated_items"], folded["repeated_deliveries"]) == (
        3,
        2,
        1,
        1,
    )
    assert (folded["at"], folded["until"]) == (events[2]["received_at"], events[4]["received_at"])
    for entry in entries:
        [event] = [event for event in events if event["position"] == entry["position"]]
        assert entry["at"] == event["received_at"]
        same = {"verdict", "rule", "raw", "delivery", "item", "tier", "by"} & entry.keys()
        assert {name: entry[name] for name in same} == {name: event[name] for name in same}
    assert page["next"] is None
    assert page["as_of"]["position"] >= entries[-1]["position"]


def test_sessions_have_begin_and_end(api: Api) -> None:
    events = api.events(UID)
    app, web = followed(api, UID, "sessions")["items"]
    assert (app["device"], app["conn_id"], app["told_by"], app["source"]) == ("app", 1, "n1", "main")
    began, ended = events[0], events[5]
    assert app["began"] == {
        "at": began["received_at"],
        "after": None,
        "sure": "exact",
        "rule": "online_new",
        "position": began["position"],
    }
    assert (app["ended"]["rule"], app["ended"]["position"]) == ("offline_of_open", ended["position"])
    assert app["duration_seconds"] > 0
    assert (web["concurrent"], web["flaps"], web["seen_at"]) == (2, 0, events[3]["received_at"])


def test_pages_and_filters(api: Api) -> None:
    followed(api, UID, "timeline")
    followed(api, UID, "sessions")
    for what in ("timeline", "sessions"):
        path = f"/v1/users/{segment(UID)}/{what}"
        whole = api.get(path)["items"]
        assert list(api.pages(path, limit=1)) == list(api.pages(path, limit=10_000)) == whole
        assert list(api.pages(path, limit=2, order="desc")) == whole[::-1]
    sessions = f"/v1/users/{segment(UID)}/sessions"
    assert api.get(sessions, open=True)["items"] == []
    assert len(api.get(sessions, open=False, source="main")["items"]) == 2
    assert api.get(sessions, source="other")["items"] == []
    unstorable = api.http.get(sessions, params={"source": "\0"})
    assert (unstorable.status_code, unstorable.json()["errors"][0]["field"]) == (422, "source")
    first, *_, last = api.events(UID)
    timeline = f"/v1/users/{segment(UID)}/timeline"
    assert api.get(timeline, to=first["recorded_at"])["items"] == []
    assert [entry["kind"] for entry in api.get(timeline, **{"from": last["recorded_at"]})["items"]] == ["tier"]


@pytest.mark.parametrize("uid", ["nobody", "a\0b", "x" * 2000])
def test_of_a_user_never_observed_nothing_is_told(api: Api, uid: str) -> None:
    for what in ("timeline", "sessions"):
        page = api.get(f"/v1/users/{segment(uid)}/{what}")
        assert (page["items"], page["next"]) == ([], None)


@pytest.mark.parametrize(
    ("what", "query", "field"),
    [
        ("timeline", {"limit": 10_001}, "limit"),
        ("timeline", {"after": "x"}, "after"),
        ("timeline", {"from": "yesterday"}, "from"),
        ("timeline", {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "to"),
        ("timeline", {"open": "true"}, "open"),
        ("sessions", {"after": "7"}, "after"),
        ("sessions", {"after": "7.x"}, "after"),
        ("sessions", {"order": "up"}, "order"),
        ("sessions", {"open": "perhaps"}, "open"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(api: Api, what: str, query: dict[str, Any], field: str) -> None:
    answer = api.http.get(f"/v1/users/u/{what}", params=query)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_reader_of_presence_may_not_read_stories(service: Service) -> None:
    with Api(service, KEYS["read"]) as reader:
        answers = [reader.http.get(f"/v1/users/u/{what}").status_code for what in ("timeline", "sessions")]
    assert answers == [403, 403]


def test_the_commands_tell_the_same(service: Service, api: Api) -> None:
    told = followed(api, UID, "timeline")["items"]
    followed(api, UID, "sessions")
    shown = service.command("timeline", UID)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [str(entry["position"]) for entry in told]
    assert "unknown -> online  app 1 opened" in lines[1]
    assert "3 duplicates in 2 deliveries, 1 sent before" in lines[3]
    as_json = service.command("timeline", UID, "--limit", "2", "--json")
    assert json.loads(as_json.stdout)["items"] == told[-2:]
    shown = service.command("sessions", UID)
    assert [line.split()[:2] for line in shown.stdout.splitlines()[1:]] == [["main/app", "1"], ["main/web", "2"]]
