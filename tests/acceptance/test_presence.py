"""Checks what a running service says of presence: one user, ten thousand, lists, counts and how it changes."""

import json
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import httpx2
import pytest

from tests.support.service import Api, Service, new_service, segment, source_table, wait_for

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
ODD_UIDS = [
    "a/b",
    "/",
    "//x//",
    "50%",
    "%2F",
    "%252F",
    "what?now=1",
    "#1",
    "two\nlines",
    "\r\n\t",
    " ",
    "用户-一",
    "👩‍👩‍👧‍👦",
    "x" * 1024,
    "é" * 512,
    ".",
    "..",
    "../../v1/presence",
    "a/presence",
    "a/events",
    "presence",
    "+",
    "a+b c",
    "'; DROP TABLE events; --",
    "-",
    "550e8400-e29b-41d4-a716-446655440000",
    "\x7f\x1b[31m",
    '"quoted"\\',
    "u-0-1-1-1-1",
]


def one(api: Api, uid: str, **headers: str) -> httpx2.Response:
    return api.http.get(f"/v1/users/{segment(uid)}/presence", headers=headers)


def test_a_presence_has_every_field_of_the_interface(api: Api) -> None:
    api.deliver("shape-0-1-11-1-1", "shape-1-1-12-1-2")
    presence = api.presence("shape")
    [event, second] = api.events("shape")
    assert presence == {
        "uid": "shape",
        "status": "online",
        "since": event["received_at"],
        "last_seen_at": event["received_at"],
        "devices": [
            {
                "source": "main",
                "device_flag": flag,
                "device": name,
                "status": "online",
                "since": event["received_at"],
                "sessions": 1,
            }
            for flag, name in ((0, "app"), (1, "web"))
        ],
        "cause": {"kind": "webhook", "at": event["received_at"], "position": event["position"]},
        "reason": None,
        "verified_at": None,
        "version": 2,
        "as_of": {"at": presence["as_of"]["at"], "position": second["position"]},
    }
    assert INSTANT.fullmatch(presence["as_of"]["at"])
    assert INSTANT.fullmatch(presence["since"])


def test_a_user_never_observed_is_unknown_and_not_missing(api: Api) -> None:
    presence = api.presence("nobody")
    assert (presence["uid"], presence["status"], presence["reason"]) == ("nobody", "unknown", "never_observed")
    assert (presence["devices"], presence["since"], presence["version"]) == ([], None, 0)


def test_offline_keeps_the_devices(api: Api) -> None:
    api.deliver("gone-0-1-21-1-1", "gone-5-1-22-1-2", "gone-0-0-21-0-1", "gone-5-0-22-0-0")
    presence = api.presence("gone")
    assert presence["status"] == "offline"
    assert [(d["device_flag"], d["device"], d["status"], d["sessions"]) for d in presence["devices"]] == [
        (0, "app", "offline", 0),
        (5, "custom", "offline", 0),
    ]


@pytest.mark.parametrize("uid", ODD_UIDS, ids=lambda uid: repr(uid)[:20])
def test_a_uid_may_be_any_string(api: Api, uid: str) -> None:
    api.deliver(f"{uid}-0-1-31-1-1")
    assert (api.presence(uid)["uid"], api.presence(uid)["status"]) == (uid, "online")
    assert [event["uid"] for event in api.events(uid)] == [uid]
    [asked] = api.http.post("/v1/presence/query", json={"uids": [uid]}).json()["items"]
    assert (asked["uid"], asked["status"]) == (uid, "online")


@pytest.mark.parametrize("uid", ["nul\0", "x" * 1025, "x" * 5000])
def test_a_uid_that_nobody_can_have_is_never_observed(api: Api, uid: str) -> None:
    assert api.presence(uid)["reason"] == "never_observed"
    assert api.events(uid) == []


def test_a_query_answers_in_the_order_asked(api: Api) -> None:
    api.deliver(*(f"many-{number}-0-1-{number}-1-1" for number in range(0, 5000, 2)))
    asked = [f"many-{number}" for number in range(5000)][::-1] * 2
    items = api.http.post("/v1/presence/query", json={"uids": asked}).json()["items"]
    assert [item["uid"] for item in items] == asked
    assert all(item["status"] == ("unknown" if int(item["uid"][5:]) % 2 else "online") for item in items)
    assert len({json.dumps(item["as_of"]) for item in items}) == 1
    assert api.http.post("/v1/presence/query", json={"uids": []}).json() == {"items": []}


def test_one_and_many_say_the_same(api: Api) -> None:
    api.deliver("same-0-1-41-1-1")
    single = api.presence("same")
    [many] = api.http.post("/v1/presence/query", json={"uids": ["same"]}).json()["items"]
    assert {**single, "as_of": None} == {**many, "as_of": None}


def test_the_etag_changes_when_the_body_would(api: Api) -> None:
    def etag() -> str:
        return one(api, "tagged").headers["etag"]

    nobody = etag()
    assert one(api, "tagged", **{"If-None-Match": nobody}).status_code == 304
    api.deliver("tagged-0-1-51-1-1")
    online = etag()
    # Others' events move the ledger's head and the instant of the answer, not the tag.
    api.deliver("somebody-else-0-1-52-1-1")
    assert etag() == online != nobody
    unchanged = one(api, "tagged", **{"If-None-Match": f'"other", W/{online}'})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", online)
    assert one(api, "tagged", **{"If-None-Match": "*"}).status_code == 304
    assert one(api, "tagged", **{"If-None-Match": nobody}).status_code == 200
    # The same claim again is fresh evidence: last seen and version change, so the tag does.
    api.deliver("tagged-0-1-51-1-1", "tagged-0-1-51-1-1")
    assert etag() not in {nobody, online}


def test_the_list_pages_to_its_end_in_order(api: Api) -> None:
    api.deliver(*(f"page-{number:03}-9-1-{number}-1-1" for number in range(25)))
    api.deliver(*(f"page-{number:03}-9-0-{number}-0-0" for number in range(10)))
    listed = list(api.pages("/v1/presence", device_flag=9, limit=4))
    assert [item["uid"] for item in listed] == [f"page-{number:03}" for number in range(25)]
    online = list(api.pages("/v1/presence", device_flag=9, status="online", limit=3))
    assert [item["uid"] for item in online] == [f"page-{number:03}" for number in range(10, 25)]
    offline = list(api.pages("/v1/presence", device_flag=9, status="offline", source="main", limit=10_000))
    assert [(item["uid"], item["status"]) for item in offline] == [(f"page-{n:03}", "offline") for n in range(10)]
    assert list(api.pages("/v1/presence", device_flag=9, source="elsewhere")) == []
    assert list(api.pages("/v1/presence", status="unknown")) == []


def test_the_list_pages_over_any_uid(api: Api) -> None:
    uids = [f"{uid}*odd" for uid in ODD_UIDS if len(uid.encode()) < 1000]
    api.deliver(*(f"{uid}-8-1-{number}-1-1" for number, uid in enumerate(uids, 1)))
    listed = [item["uid"] for item in api.pages("/v1/presence", device_flag=8, limit=1)]
    assert sorted(listed) == sorted(uids)


@pytest.fixture
def alone(database_url: str, tmp_path: Path) -> Iterator[Service]:
    """A service whose ledger is empty, with a grace period."""
    with new_service(
        tmp_path,
        tmp_path / "data",
        database_url=database_url,
        tables="[policy]\ngrace_seconds = 1.5\n"
        + source_table("main", {"n1": "", "n2": ""})
        + source_table("other", {"n1": ""}, profile="v3"),
    ) as service:
        yield service.start()


def test_the_summary_counts_and_grace_hides_a_short_absence(alone: Service) -> None:
    with Api(alone) as api:
        assert api.get("/v1/presence/summary")["users"] == {"online": 0, "offline": 0, "unknown": 0}
        api.deliver("a-0-1-1-1-1", "a-1-1-2-1-2", "b-0-1-3-1-1", "c-0-1-4-1-1")
        api.deliver("d-0-1-1-1-1", node="n2")
        api.deliver("a-0-1-1-1-1", source="other")
        api.deliver("b-0-0-3-0-0")
        summary = api.get("/v1/presence/summary")
        numbers = count(4)

        def hidden() -> httpx2.Response | None:
            """An answer of within the grace period; where that was over already, they come and go once more."""
            number = next(numbers)
            api.deliver(f"b-0-1-{number}-1-1", f"b-0-0-{number}-0-0")
            answer = one(api, "b")
            return answer if answer.json()["status"] == "online" else None

        assert summary["devices_online"] == [
            {"source": "main", "device_flag": 0, "devices": 3},
            {"source": "main", "device_flag": 1, "devices": 1},
            {"source": "other", "device_flag": 0, "devices": 1},
        ]
        assert summary["nodes"] == [
            {"source": "main", "node": "n1", "devices": 3},
            {"source": "main", "node": "n2", "devices": 1},
            {"source": "other", "node": "n1", "devices": 1},
        ]
        shown = wait_for(hidden)
        assert shown is not None
        assert [device["status"] for device in shown.json()["devices"]] == ["offline"]
        etag = shown.headers["etag"]
        wait_for(lambda: api.presence("b")["status"] == "offline")
        # The grace period's end is no event, and changes what is shown.
        assert api.presence("b")["since"] > api.events("b")[-1]["received_at"]
        assert one(api, "b", **{"If-None-Match": one(api, "b").headers["etag"]}).status_code == 304
        assert one(api, "b").headers["etag"] != etag
        assert api.get("/v1/presence/summary")["users"] == {"online": 3, "offline": 1, "unknown": 0}


def test_a_query_is_as_short_as_it_is_asked_for(api: Api) -> None:
    api.deliver("dot-0-1-1-1-1")
    asked = {"uids": ["dot", "nobody"] * 100}
    answer = api.http.post("/v1/presence/query", params={"fields": "status"}, json=asked)
    items = answer.json()["items"]
    assert [(each["uid"], each["status"]) for each in items[:2]] == [("dot", "online"), ("nobody", "unknown")]
    assert {name for each in items for name in each} == {"uid", "status", "as_of"}
    assert answer.headers["content-encoding"] == "gzip"
    plain = api.http.post(
        "/v1/presence/query", params={"fields": "status"}, json=asked, headers={"Accept-Encoding": "identity"}
    )
    assert "content-encoding" not in plain.headers
    assert len(plain.content) < 200 * 118
    refused = api.http.post("/v1/presence/query", params={"fields": "status,state"}, json=asked)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "fields")


def test_a_query_is_answered_shortly_where_nothing_has_changed(api: Api) -> None:
    def ask(known: str | None = None) -> httpx2.Response:
        headers = {} if known is None else {"If-None-Match": known}
        return api.http.post("/v1/presence/query", json={"uids": ["same", "other"]}, headers=headers)

    api.deliver("same-0-1-2-1-1")
    tag = ask().headers["etag"]
    unchanged = ask(tag)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    api.deliver("other-0-1-3-1-1")
    changed = ask(tag)
    assert (changed.status_code, changed.headers["etag"] == tag) == (200, False)
