"""Checks what a request gets that asks reconciliation in a wrong way, or may not ask."""

from typing import Any

import httpx2
import pytest

from tests.support.service import KEYS, Api, Service, segment, source_table


@pytest.fixture(scope="module")
def service_settings() -> dict[str, Any]:
    """Two sources: one whose node has an address, at which nobody answers."""
    webhooks_only = source_table("webhooks-only", {}, profile="v3")
    return {"tables": source_table("main", {"n1": "http://127.0.0.1:9"}) + webhooks_only}


def fields(answer: httpx2.Response) -> list[str]:
    """The fields that a 422 names."""
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), answer.text
    return [error["field"] for error in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"uids": ["u", "x" * 1025]}, "uids.1"),
        ({"uids": ["é" * 513]}, "uids.0"),
        ({"uids": ["a\0b"]}, "uids.0"),
        ({"uids": [""]}, "uids.0"),
        ({"uids": [7]}, "uids.0"),
        ({"uids": ["u"] * 10_001}, "uids"),
        ({"uids": []}, "uids"),
        ({"uids": "u"}, "uids"),
        ({"uids": ["u"], "at": "now"}, "at"),
        ([], "body"),
    ],
    ids=["long", "long in bytes", "NUL", "empty", "a number", "too many", "none", "a text", "unknown field", "a list"],
)
def test_a_bad_request_for_a_run_names_its_field(api: Api, body: Any, field: str) -> None:
    assert fields(api.http.post("/v1/sources/main/reconcile", json=body)) == [field]


@pytest.mark.parametrize("body", [b"\xff", b'{"uids": ["\\ud800"]}', b"{", b"[" * 100_000])
def test_a_request_for_a_run_that_is_no_json_in_utf_8(api: Api, body: bytes) -> None:
    before = len(api.source_events("run_started"))
    assert fields(api.http.post("/v1/sources/main/reconcile", content=body))
    assert len([event for event in api.source_events("run_started")[before:] if event["scope"] == "manual"]) == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [({"tier": "gold"}, "tier"), ({"tier": 1}, "tier"), ({}, "tier"), ({"tier": "vip", "for": 1}, "for"), ([], "body")],
)
def test_a_bad_tier_names_its_field(api: Api, body: Any, field: str) -> None:
    assert fields(api.http.put("/v1/users/bad/tier", json=body)) == [field]
    assert api.events("bad") == []


@pytest.mark.parametrize("uid", ["x" * 1025, "a\0b"])
def test_a_tier_for_a_uid_that_nobody_can_have(api: Api, uid: str) -> None:
    assert fields(api.http.put(f"/v1/users/{segment(uid)}/tier", json={"tier": "vip"})) == ["uid"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/sources/elsewhere/runs"),
        ("GET", "/v1/sources/%00/runs"),
        ("GET", "/v1/sources/%27/runs"),
        ("POST", "/v1/sources/elsewhere/reconcile"),
        ("POST", "/v1/sources/%00/reconcile"),
        ("GET", "/v1/runs/r-0123456789abcdef"),
        ("GET", "/v1/runs/%00"),
        ("GET", "/v1/runs/" + "x" * 2000),
    ],
)
def test_what_is_not_there(api: Api, method: str, path: str) -> None:
    answer = api.http.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), answer.text


def test_a_source_without_an_address_cannot_be_reconciled(api: Api) -> None:
    answer = api.http.post("/v1/sources/webhooks-only/reconcile", json={"uids": ["u"]})
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
    assert "api_url" in answer.json()["detail"]
    assert list(api.pages("/v1/sources/webhooks-only/runs")) == []


def test_who_may_only_look_may_give_no_orders(service: Service, api: Api) -> None:
    before = api.head()
    for key, status in ((None, 401), ("no-such-key-at-all", 401), (KEYS["read"], 403), (KEYS["audit"], 403)):
        with Api(service, key) as asking:
            run = asking.http.post("/v1/sources/main/reconcile")
            for answer in (run, asking.http.put("/v1/users/u/tier", json={"tier": "vip"})):
                assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    orders = ("tier_set", "run_started")
    assert not [
        e for e in api.ledger() if e["position"] > before and e["kind"] in orders and e.get("scope") == "manual"
    ]
    assert api.events("u") == []
