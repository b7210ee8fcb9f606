"""Sinks of a running service: whatever its receiver does, in the end it has what GET answers."""

import base64
import json
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from typing import Any

import psutil
import pytest

from bench._receiver import RETRY_AFTER_SECONDS, SECRET, Mood, Receiver, Request, receiving
from tests.support.service import KEYS, MAIN, Api, Service, wait_for

OLDER = "whsec_" + base64.b64encode(bytes(range(32))).decode()

SINKS = """
[[sinks]]
name = "app"
kind = "webhook"
url = "{app}"
secret = ["{secret}", "{older}"]
coalesce_seconds = 0.1
batch = 3
[[sinks]]
name = "down"
kind = "webhook"
url = "http://127.0.0.1:9/"
secret = "{older}"
[[sinks]]
name = "friends"
kind = "webhook"
url = "{friends}?key=hunter2"
secret = "{secret}"
list = "friends"
coalesce_seconds = 0
[[sinks]]
name = "all"
kind = "webhook"
url = "{every}"
secret = "{secret}"
coalesce_seconds = 0.5
every = true
"""


@pytest.fixture(scope="module")
def app() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def friends() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def every() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def service_settings(app: Receiver, friends: Receiver, every: Receiver) -> dict[str, Any]:
    urls = {"app": app.url, "friends": friends.url, "every": every.url}
    return {"tables": MAIN + SINKS.format(**urls, secret=SECRET, older=OLDER)}


@pytest.fixture(autouse=True, scope="module")
def _leads(api: Api) -> None:
    wait_for(lambda: all(each["state"] != "new" for each in api.get("/v1/sinks")["items"]), api.service.log)


@pytest.fixture(autouse=True)
def _well(_leads: None, api: Api, app: Receiver) -> None:
    """Whatever the test before has left."""
    app.mood = "well"
    if sink(api, "app")["state"] in ("paused", "stopped"):
        api.http.post("/v1/sinks/app/resume").raise_for_status()


def sink(api: Api, name: str) -> dict[str, Any]:
    return next(each for each in api.get("/v1/sinks")["items"] if each["name"] == name)


def visible(presence: dict[str, Any]) -> dict[str, Any]:
    devices = [(each["device_flag"], each["status"], each["sessions"]) for each in presence["devices"]]
    return {name: presence[name] for name in ("uid", "status", "since", "reason")} | {"devices": devices}


def has(receiver: Receiver, api: Api, *uids: str) -> None:
    """Wait until it has what is answered of these users."""
    answers = {uid: visible(api.get(f"/v1/users/{uid}/presence")) for uid in uids}

    def shown() -> bool:
        return all(uid in receiver.shown and visible(receiver.shown[uid]) == answers[uid] for uid in uids)

    wait_for(shown, lambda: (sink(api, "app"), receiver.shown.keys()))
    assert receiver.faults == []


def test_a_change_is_posted_as_a_standard_webhook(api: Api, app: Receiver) -> None:
    api.deliver("ann-0-1-1-1-1", "ben-1-1-2-1-1")
    has(app, api, "ann", "ben")
    request = next(each for each in app.requests if b'"ann"' in each.body)
    assert request.headers["content-type"] == "application/json"
    assert re.fullmatch(r"msg_[0-9a-f]{32}", request.headers["webhook-id"])
    assert re.fullmatch(r"v1,\S+ v1,\S+", request.headers["webhook-signature"])
    body = json.loads(request.body)
    assert (body["type"], sorted(body)) == ("presence.changed", ["data", "timestamp", "type"])
    assert body["data"]["sink"] == "app"
    assert body["data"]["from"] < body["data"]["to"]
    change = next(each for each in body["data"]["changes"] if each["uid"] == "ann")
    assert change["previous"] == {"status": "unknown", "since": None}
    answer = api.get("/v1/users/ann/presence")
    told = {name: value for name, value in change.items() if name not in ("previous", "as_of")}
    assert told == {name: value for name, value in answer.items() if name != "as_of"}
    assert sorted(change["as_of"]) == ["at", "epoch", "position"]


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        ("wrong", "answered 500"),
        ("redirecting", "answered 307: redirects are not followed"),
        ("garbage", "what it answered is not HTTP, or it closed the connection"),
        ("asking", "answered 503"),
    ],
)
def test_what_is_no_success_is_told_again(api: Api, app: Receiver, mood: Mood, reason: str) -> None:
    app.mood = mood
    before = len(app.requests)
    api.deliver(f"{mood}-0-1-1-1-1")
    wait_for(lambda: sink(api, "app")["state"] == "failing", api.service.log)
    assert sink(api, "app")["last_error"]["reason"] == reason

    def told_twice() -> list[Request]:
        # Where something newer is known of one of its users, a batch is made again with a new id.
        by_id = defaultdict[str, list[Request]](list)
        for each in app.requests[before:]:
            by_id[each.headers["webhook-id"]].append(each)
        return next((each for each in by_id.values() if len(each) > 1), [])

    first, second, *_ = wait_for(told_twice, api.service.log)
    app.mood = "well"
    has(app, api, mood)
    wait_for(lambda: sink(api, "app")["state"] == "following", api.service.log)
    assert first.body == second.body
    assert {each.path for each in app.requests} == {"/presence"}
    if mood == "asking":
        assert second.at - first.at >= RETRY_AFTER_SECONDS * 0.9


def test_a_gigabyte_is_read_to_a_bound(api: Api, app: Receiver) -> None:
    app.mood = "endless"
    api.deliver("endless-0-1-1-1-1")
    has(app, api, "endless")
    app.mood = "well"
    api.deliver("after-0-1-1-1-1")
    has(app, api, "after")
    assert app.sent_bytes < 64 * 1048576


def test_a_receiver_that_was_away_is_told_the_last_state_once(api: Api, app: Receiver) -> None:
    app.stop()
    for number in range(6):
        api.deliver(f"flapper-0-1-{number + 1}-1-1")
        api.deliver(f"flapper-0-0-{number + 1}-0-0")
    api.deliver("steady-0-1-1-1-1")
    wait_for(lambda: sink(api, "app")["state"] == "failing", api.service.log)
    assert "flapper" not in app.shown
    app.start()
    has(app, api, "flapper", "steady")
    assert app.times["flapper"] <= 2
    wait_for(lambda: sink(api, "app")["lag_events"] == 0, lambda: sink(api, "app"))


def test_gone_stops_the_sink_until_it_is_resumed(api: Api, app: Receiver, service: Service) -> None:
    app.mood = "gone"
    api.deliver("leaver-0-1-1-1-1")
    wait_for(lambda: sink(api, "app")["state"] == "stopped", api.service.log)
    stopped = sink(api, "app")
    assert stopped["last_error"]["reason"] == "answered 410 Gone: the receiver wants no more"
    assert "sink_stopped" in service.log()
    app.mood = "well"
    number = len(app.requests)
    api.deliver("leaver-0-0-1-0-0")
    assert service.command("sinks", "resume", "app").returncode == 0
    has(app, api, "leaver")
    assert number + 1 <= len(app.requests)


def test_a_paused_sink_is_told_nothing_until_it_is_resumed(api: Api, app: Receiver) -> None:
    paused = api.http.post("/v1/sinks/app/pause")
    assert (paused.status_code, paused.json()["state"]) == (200, "paused")
    probes = (f"probe{number}" for number in count())

    def holds() -> bool:
        # What is being told when the order comes is told to its end.
        probe = next(probes)
        api.deliver(f"{probe}-0-1-1-1-1")
        time.sleep(1)
        return probe not in app.shown

    wait_for(holds, api.service.log)
    number = len(app.requests)
    for uid in ("p1", "p2", "p3", "p4"):
        api.deliver(f"{uid}-0-1-1-1-1")
    wait_for(lambda: sink(api, "friends")["lag_events"] == 0, lambda: sink(api, "friends"))
    assert len(app.requests) == number
    assert api.http.post("/v1/sinks/app/resume").json()["state"] == "following"
    has(app, api, "p1", "p2", "p3", "p4")


def test_a_replay_tells_everybody_again(api: Api, app: Receiver, service: Service) -> None:
    api.deliver("again-0-1-1-1-1")
    has(app, api, "again")
    before = app.times["again"]
    done = service.command("sinks", "replay", "app", "--from", "0")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: app.times["again"] > before, lambda: sink(api, "app"))
    answered = api.http.post("/v1/sinks/app/replay", json={"from": "2026-01-01T00:00:00Z"})
    assert answered.status_code == 200
    wait_for(lambda: app.times["again"] > before + 1, lambda: sink(api, "app"))
    has(app, api, "again")


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"from": 2**62}, 422, "beyond the head of the ledger"),
        ({"from": "2999-01-01T00:00:00Z"}, 422, "in the future"),
        ({"from": "soon"}, 422, "neither a position nor an instant"),
        ({"from": True}, 422, "neither a position"),
        ({"from": -1}, 422, "neither a position"),
        ({}, 422, "from"),
        ({"from": 1, "to": 2}, 422, "to"),
        (None, 422, "name the place"),
    ],
)
def test_a_place_that_is_none_is_refused(api: Api, body: Any, status: int, detail: str) -> None:
    answer = api.http.post("/v1/sinks/app/replay", json=body) if body is not None else api.http.post(
        "/v1/sinks/app/replay"
    )  # fmt: skip
    assert answer.status_code == status
    assert detail in answer.text


def test_an_unknown_sink_is_404_and_orders_need_an_admin(api: Api, service: Service) -> None:
    assert api.http.post("/v1/sinks/nobody/replay", json={"from": 0}).status_code == 404
    assert api.http.post("/v1/sinks/nobody/resume").status_code == 404
    assert api.http.post("/v1/sinks/nobody/pause").status_code == 404
    assert service.command("sinks", "pause", "nobody").returncode == 1
    with Api(service, KEYS["audit"]) as auditor:
        assert auditor.get("/v1/sinks")["items"][0]["name"] == "app"
        assert auditor.http.post("/v1/sinks/app/pause").status_code == 403
    with Api(service, KEYS["read"]) as reader:
        assert reader.http.get("/v1/sinks").status_code == 403


def test_a_list_restricts_and_who_comes_to_it_is_told_of_at_once(api: Api, friends: Receiver) -> None:
    api.deliver("guest-0-1-1-1-1", "friend-0-1-1-1-1")
    assert api.http.put("/v1/lists/friends", json={"uids": ["friend"]}).status_code == 201
    has(friends, api, "friend")
    api.deliver("guest-0-0-1-0-0", "friend-0-0-1-0-0")
    has(friends, api, "friend")
    wait_for(lambda: sink(api, "friends")["lag_events"] == 0, lambda: sink(api, "friends"))
    assert set(friends.shown) == {"friend"}
    api.http.patch("/v1/lists/friends", json={"add": ["guest"], "remove": ["friend"]})
    has(friends, api, "guest")
    told = friends.times["friend"]
    api.deliver("guest-0-1-2-1-1", "friend-0-1-2-1-1")
    has(friends, api, "guest")
    assert friends.times["friend"] == told


def test_each_change_is_told_where_it_is_asked_for(api: Api, every: Receiver) -> None:
    for number in range(5):
        api.deliver(f"flipper-0-1-{number + 1}-1-1")
        api.deliver(f"flipper-0-0-{number + 1}-0-0")
    has(every, api, "flipper")
    told = [(each["as_of"]["position"], each["status"]) for each in every.history if each["uid"] == "flipper"]
    # On a busy machine an answer may come too late, and what was told is told again.
    once = list(dict.fromkeys(told))
    assert once == sorted(once)
    assert [status for _, status in once] == ["online", "offline"] * 5


def test_one_that_fails_holds_up_no_other_and_says_so(api: Api, app: Receiver, service: Service) -> None:
    api.deliver("other-0-1-1-1-1")
    has(app, api, "other")
    wait_for(lambda: sink(api, "down")["state"] == "failing", lambda: sink(api, "down"))
    assert sink(api, "down")["last_error"]["reason"] == "took no connection"
    metrics = api.http.get("/metrics").text
    assert re.search(r'^presence_ledger_sink_lag_events\{sink="down"\} [1-9]', metrics, re.MULTILINE)
    assert re.search(r'^presence_ledger_sink_failing_timestamp_seconds\{sink="down"\} [1-9]', metrics, re.MULTILINE)
    assert re.search(r'^presence_ledger_sink_failing_timestamp_seconds\{sink="app"\} 0.0', metrics, re.MULTILINE)
    assert re.search(r'^presence_ledger_sink_failures_total\{sink="down"\} [1-9]', metrics, re.MULTILINE)
    shown = service.command("sinks")
    assert shown.returncode == 0
    assert "took no connection" in shown.stdout
    assert json.loads(service.command("sinks", "--json").stdout)["items"][0]["name"] == "app"
    assert "hunter2" not in service.log() + shown.stdout
    assert SECRET not in service.log()


def test_after_a_kill_it_goes_on_where_it_was(api: Api, app: Receiver, service: Service) -> None:
    app.stop()
    api.deliver("survivor-0-1-1-1-1")
    wait_for(lambda: sink(api, "app")["state"] == "failing", service.log)
    process = service.beside("ledger.sinks.process")
    service.kill()
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, service.log)
    app.start()
    service.start()
    has(app, api, "survivor")
    api.deliver("later-0-1-1-1-1")
    has(app, api, "later")
