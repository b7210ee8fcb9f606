"""Whom to send a push notification, asked over HTTP, told by explanations, and by the recipe in the docs."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.im_node import ImNode, im_node
from tests.support.recipes import recipe
from tests.support.service import KEYS, MAIN, Api, Service, wait_for


@pytest.fixture(scope="module")
def node() -> Iterator[ImNode]:
    with im_node() as node:
        yield node


@pytest.fixture(scope="module")
def service_settings(node: ImNode) -> dict[str, Any]:
    return {"tables": f'{MAIN}api_url = "{node.url}"\n'}


@pytest.fixture(scope="module", autouse=True)
def users(api: Api, node: ImNode) -> None:
    api.deliver(node.connect("on-app"))
    api.deliver(node.connect("on-web", 1))
    item = node.connect("gone")
    api.deliver(item)
    api.deliver(node.close("gone"))


def asked(api: Api, *uids: str) -> list[Any]:
    answer = api.http.post("/v1/reach/query", json={"uids": uids})
    assert answer.status_code == 200, answer.text
    items: list[Any] = answer.json()["items"]
    return items


def test_each_user_and_device_has_an_answer_in_the_order_asked(api: Api) -> None:
    on_app, on_web, gone, nobody, again = asked(api, "on-app", "on-web", "gone", "nobody", "on-app")
    assert {name: on_app[name] for name in ("uid", "push", "because", "certain")} == {
        "uid": "on-app",
        "push": False,
        "because": "online",
        "certain": True,
    }
    [device] = on_web["devices"]
    assert (on_web["push"], on_web["because"], on_web["certain"]) == (True, "other_device", True)
    assert (device["device"], device["push"], device["because"]) == ("web", False, "online")
    assert (gone["push"], gone["because"]) == (True, "offline")
    assert (nobody["push"], nobody["because"], nobody["certain"], nobody["devices"]) == (
        True,
        "never_observed",
        False,
        [],
    )
    assert again == on_app
    assert len({json.dumps(each["as_of"]) for each in (on_app, on_web, gone, nobody)}) == 1


def test_an_explanation_says_the_same(api: Api) -> None:
    for uid in ("on-app", "on-web", "gone", "nobody"):
        [answer] = asked(api, uid)
        [said] = [
            statement
            for statement in api.get(f"/v1/users/{uid}/explain")["statements"]
            if statement["about"] == "reach"
        ]
        assert said["code"] == f"reach_{answer['because']}"
    at = api.presence("gone")["as_of"]["at"]
    told = api.get("/v1/users/gone/explain", at=at)["statements"]
    assert told[-1]["code"] == "reach_offline"
    page = api.http.get("/v1/users/gone/explain", headers={"Accept": "text/plain"}).text
    assert "Push notifications\n  A push notification was called for: they had no connection." in page


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"uids": ["u"] * 10_001}, "uids"),
        ({"uids": ["u"], "at": "2026-11-23T08:20:46Z"}, "at"),
        ({}, "uids"),
        ([], "body"),
    ],
    ids=["too many", "of the past", "nothing", "a list"],
)
def test_a_bad_question_names_its_field(api: Api, body: Any, field: str) -> None:
    answer = api.http.post("/v1/reach/query", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert api.http.post("/v1/reach/query").json()["errors"][0]["field"] == "body"


def test_a_key_is_wanted(service: Service) -> None:
    with Api(service, None) as stranger, Api(service, KEYS["read"]) as reader:
        assert stranger.http.post("/v1/reach/query", json={"uids": []}).status_code == 401
        assert reader.http.post("/v1/reach/query", json={"uids": []}).json() == {"items": []}


def test_the_recipe_notifies_those_who_need_it(service: Service, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEDGER_URL", service.url)
    monkeypatch.setenv("LEDGER_KEY", KEYS["read"])
    written: dict[str, Any] = {}
    exec(recipe("push.md", "apns"), written)  # noqa: S102  (what the docs show is what is tried)
    uids = ["on-app", "on-web", "gone", "nobody"]
    assert written["to_notify"](uids) == uids[1:]
    monkeypatch.setenv("LEDGER_KEY", "of-somebody-else")
    assert written["to_notify"](uids) == uids


def test_a_look_that_does_not_find_them_is_a_doubt(api: Api, node: ImNode) -> None:
    api.deliver(node.connect("slipped"))
    assert not asked(api, "slipped")[0]["push"]
    node.close("slipped")
    # The webhook is lost; a run looks at once, and a second time before it turns anybody offline.
    api.http.post("/v1/sources/main/reconcile", json={"uids": ["slipped"]})
    seen = []

    def is_gone() -> bool:
        seen.append(asked(api, "slipped")[0]["because"])
        return bool(api.presence("slipped")["status"] == "offline")

    wait_for(is_gone, lambda: seen)
    assert asked(api, "slipped")[0]["because"] == "offline"
    # Never spared again once a look had spoken.
    assert set(seen[seen.index(next(each for each in seen if each != "online")) :]) <= {
        "doubted",
        "suspect",
        "offline",
    }
