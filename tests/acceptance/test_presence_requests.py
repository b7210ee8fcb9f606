"""Checks who may ask a running service, and what a request gets that asks in a wrong way."""

import json
from typing import Any

import httpx2
import pytest

from tests.support.service import KEYS, Api, Service


def problem(answer: httpx2.Response, status: int) -> Any:
    """The body of a problem of that status."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    body = answer.json()
    assert (body["status"], body["type"]) == (status, "about:blank")
    assert body["title"]
    assert body["detail"]
    return body


def fields(answer: httpx2.Response) -> list[str]:
    """The fields that a 422 names."""
    return [error["field"] for error in problem(answer, 422)["errors"]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"uids": ["u"] * 10_001}, "uids"),
        ({"uids": ["u"], "at": "now"}, "at"),
        ({"uids": ["u"], "at": 17}, "at"),
        ({"uids": ["u"], "at": "2026-11-23T08:20:46Z", "position": True}, "position"),
        ({"uids": ["u", 7]}, "uids.1"),
        ({}, "uids"),
        ([], "body"),
        ("no json", "body"),
    ],
    ids=[
        "too many",
        "not a timestamp",
        "a number for an instant",
        "true for a position",
        "a number",
        "nothing",
        "a list",
        "no JSON",
    ],
)
def test_a_bad_query_names_its_field(api: Api, body: Any, field: str) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    answer = api.http.post("/v1/presence/query", content=text, headers={"Content-Type": "application/json"})
    named = fields(answer)
    assert named[0] == field or (text == "no json" and named), named


def test_half_a_character_is_no_uid(api: Api) -> None:
    headers = {"Content-Type": "application/json"}
    answer = api.http.post("/v1/presence/query", content='{"uids": ["u", "\\ud800"]}', headers=headers)
    assert fields(answer) == ["body"]
    answer = api.http.post("/v1/presence/query", content='{"uids": ["\\u0000"]}', headers=headers)
    assert answer.json()["items"][0]["reason"] == "never_observed"


@pytest.mark.parametrize("body", [b"\xff", b"[" * 100_000, b'{"uids": ["\xff"]}', b'{"uids": NaN}'])
def test_a_query_that_is_no_json_in_utf_8(api: Api, body: bytes) -> None:
    assert fields(api.http.post("/v1/presence/query", content=body))


def test_a_query_beyond_the_bound_is_not_read(service: Service, api: Api) -> None:
    for key, status in ((KEYS["read"], 413), ("no-such-key-at-all", 401)):
        connection = service.connection()
        connection.putrequest("POST", "/v1/presence/query")
        connection.putheader("Authorization", f"Bearer {key}")
        connection.putheader("Content-Length", str(64 * 1024 * 1024 + 1))
        connection.endheaders(b"{")
        assert connection.getresponse().status == status
        connection.close()


@pytest.mark.parametrize("path", ["%FF", "%ED%A0%80", "%", "%zz", "a%00b"])
def test_a_path_that_is_no_text_is_no_defect(service: Service, path: str) -> None:
    connection = service.connection()
    headers = {"Authorization": f"Bearer {KEYS['audit']}"}
    for route in ("presence", "events"):
        connection.request("GET", f"/v1/users/{path}/{route}", headers=headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status in {200, 400, 404, 422}
    connection.close()
    assert '"defect"' not in service.log()


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/presence?limit=0", "limit"),
        ("/v1/presence?limit=10001", "limit"),
        ("/v1/presence?limit=many", "limit"),
        ("/v1/presence?after=%21", "after"),
        ("/v1/presence?after=%F0%9F%98%80", "after"),
        ("/v1/presence?status=away", "status"),
        ("/v1/presence?device_flag=256", "device_flag"),
        ("/v1/presence?colour=red", "colour"),
        ("/v1/users/u/presence?colour=red", "colour"),
        ("/v1/presence/summary?colour=red", "colour"),
        ("/v1/sources?colour=red", "colour"),
        ("/v1/users/u/events?colour=red", "colour"),
        ("/v1/users/u/events?from=yesterday", "from"),
        ("/v1/users/u/events?from=2026-11-23T00:00:00", "from"),
        ("/v1/users/u/events?from=1700000000", "from"),
        ("/v1/users/u/events?to=2026-13-01T00:00:00Z", "to"),
        ("/v1/users/u/events?from=2026-11-23T00:00:01Z&to=2026-11-23T00:00:00Z", "to"),
        ("/v1/users/u/events?order=up", "order"),
        ("/v1/users/u/events?after=x", "after"),
        ("/v1/users/u/events?after=-1", "after"),
        ("/v1/users/u/events?limit=10001", "limit"),
        ("/v1/ledger/events?after=x", "after"),
        ("/v1/ledger/events?after=99999999999999999999", "after"),
        ("/v1/ledger/events?limit=10001", "limit"),
        ("/v1/deliveries/x?limit=0", "limit"),
        ("/v1/sources/main/runs?after=x", "after"),
        ("/v1/sources/main/runs?limit=10001", "limit"),
        ("/v1/runs/x?colour=red", "colour"),
        ("/v1/drift?state=closed", "state"),
        ("/v1/drift?kind=bug", "kind"),
        ("/v1/drift?attributed_to=somebody", "attributed_to"),
        ("/v1/drift?colour=red", "colour"),
        ("/v1/drift?limit=0", "limit"),
        ("/v1/drift?after=%21", "after"),
        ("/v1/drift?after=dTEwMA", "after"),  # u100
        ("/v1/drift?after=eC51", "after"),  # x.u
        ("/v1/drift?after=MS4A", "after"),  # 1. and NUL
        ("/v1/drift?after=OTk5OTk5OTk5OTk5OTk5OTk5OS51", "after"),  # 9999999999999999999.u
    ],
)
def test_a_bad_parameter_is_named(api: Api, path: str, field: str) -> None:
    assert fields(api.http.get(path)) == [field]


READ = ["/v1/users/u/presence", "/v1/presence", "/v1/presence/summary", "/metrics"]
FOUND = ["/v1/users/u/events", "/v1/ledger/events", "/v1/sources", "/v1/sources/main/runs", "/v1/drift"]
NOT_FOUND = ["/v1/deliveries/x", "/v1/runs/x", "/v1/sources/elsewhere/runs"]
AUDIT = FOUND + NOT_FOUND


@pytest.mark.parametrize("path", READ + AUDIT)
def test_every_route_wants_a_key_with_its_scope(service: Service, path: str) -> None:
    for key, status in ((None, 401), ("no-such-key-at-all", 401), (KEYS["read"], 403 if path in AUDIT else 200)):
        with Api(service, key) as api:
            answer = api.http.get(path)
            if status == 200:
                assert answer.status_code == 200
                continue
            problem(answer, status)
            assert ("www-authenticate" in answer.headers) == (status == 401)
    for key in (KEYS["audit"], KEYS["admin"]):
        with Api(service, key) as api:
            assert api.http.get(path).status_code == (404 if path in NOT_FOUND else 200)


def test_the_query_wants_a_key_before_it_looks_at_the_body(service: Service) -> None:
    with Api(service, None) as api:
        problem(api.http.post("/v1/presence/query", json={"uids": ["u"]}), 401)


@pytest.mark.parametrize("header", ["Basic dTpw", "Bearer", "bearer é", f"Token {KEYS['read']}"])
def test_what_is_no_bearer_token_is_no_key(service: Service, header: str) -> None:
    with Api(service, None) as api:
        answer = api.http.get("/v1/presence", headers={b"Authorization": header.encode()})
        problem(answer, 401)
        assert api.http.get("/v1/presence", headers={"Authorization": f"bearer {KEYS['read']}"}).status_code == 200


EVERY_ROUTE = [
    "/v1/users/{}/presence",
    "/v1/users/{}/events",
    "/v1/users/{}/timeline",
    "/v1/users/{}/sessions",
    "/v1/users/{}/explain",
    "/v1/deliveries/{}",
    "/v1/runs/{}",
    "/v1/sources/{}/runs",
    "/v1/presence?source={}",
    "/v1/presence?after={}",
    "/v1/presence?status={}",
    "/v1/users/u/sessions?source={}",
    "/v1/users/u/sessions?after={}",
    "/v1/users/u/presence?at={}",
    "/v1/users/u/events?after={}",
    "/v1/users/u/events?from={}",
    "/v1/users/u/explain?lang={}",
    "/v1/ledger/events?after={}",
    "/v1/drift?source={}",
    "/v1/drift?node={}",
    "/v1/drift?uid={}",
    "/v1/drift?kind={}",
    "/v1/drift?after={}",
    "/v1/drift/summary?by={}",
    "/v1/drift/summary?after={}",
    "/v1/loss?source={}",
    "/v1/loss?from={}",
    "/v1/blind?source={}",
    "/v1/blind?kind={}",
    "/v1/blind?after={}",
    "/v1/presence?{}=1",
]


@pytest.mark.parametrize("route", EVERY_ROUTE)
def test_nul_and_what_is_no_text_is_nowhere_a_defect(service: Service, route: str) -> None:
    """Refused in a filter or a cursor; a uid may be any text, and a name in a path that nothing has is not found."""
    connection = service.connection()
    headers = {"Authorization": f"Bearer {KEYS['admin']}"}
    for text in ("%00", "a%00b", "%ED%A0%80", "%FF"):
        connection.request("GET", route.format(text), headers=headers)
        answer = connection.getresponse()
        answer.read()
        may_be_any = "uid={" in route or "/users/{" in route
        wanted = {200} if may_be_any else {404} if "{" in route.partition("?")[0] else {422}
        if "source={" in route or "node={" in route:
            # What is no UTF-8 in a query is read as replacement characters, which a name may hold.
            wanted = {422} if "%00" in text else {200}
        assert answer.status in wanted | ({400} if "%00" not in text else set()), (text, answer.status)
    connection.close()


@pytest.mark.parametrize(
    "path", ["/health/live/", "/health/ready//", "/v1/presence/", "/v1/users/u/presence/", "/metrics/"]
)
def test_a_slash_at_the_end_is_taken_and_not_redirected(api: Api, path: str) -> None:
    assert api.http.get(path, follow_redirects=False).status_code == 200


def test_an_encoded_slash_is_part_of_a_name(api: Api) -> None:
    assert api.http.get("/v1/runs/x%2F").status_code == 404
    assert api.get("/v1/users/a%2F/presence")["uid"] == "a/"


@pytest.mark.parametrize(
    "path", ["/v1/presence", "/v1/users/u/presence", "/docs", "/metrics", "/health/live", "/none", "/v1/runs/x"]
)
def test_no_answer_is_kept_or_taken_for_what_it_is_not(api: Api, path: str) -> None:
    headers = api.http.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert ("script-src" in policy) == (path == "/docs")


def test_a_query_of_the_largest_right_question_is_answered(api: Api) -> None:
    uids = [f"{number:05}" + "é" * 500 for number in range(10_000)]
    answer = api.http.post("/v1/presence/query", content=json.dumps({"uids": uids}))
    assert (answer.status_code, len(answer.json()["items"])) == (200, 10_000)


LARGE = 200_000


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("{" + ",".join(f'"field-{number}":1' for number in range(LARGE // 4)) + "}", "body"),
        ('{"uids":[' + ",".join(['"u"'] * 10_100) + "]}", "uids"),
        ('{"uids":[' + ",".join(['""'] * LARGE) + "]}", "uids"),
        ('{"uids":[' + ",".join(["1"] * LARGE) + "]}", "uids.0"),
        ('{"uids":["u"],"at":[' + ",".join(["{}"] * LARGE) + "]}", "at"),
        ('{"uids":["u"],"position":' + "1" * LARGE + "}", "position"),
        ('{"uids":["u"],"at":' + "[" * LARGE, "body"),
        ('{"uids":["u"],"' + "x" * LARGE + '":1}', "body"),
        ('{"uids":["' + '\\"' * LARGE, "body"),
        ("[" + ",".join(["[]"] * LARGE) + "]", "body"),
    ],
    ids=["fields", "uids", "empty uids", "numbers", "an instant", "digits", "depth", "a name", "no end", "a list"],
)
def test_a_large_body_that_is_no_question_is_refused_shortly(api: Api, body: str, field: str) -> None:
    answer = api.http.post("/v1/presence/query", content=body)
    assert fields(answer)[0] == field
    assert len(answer.content) < 4096
    answer = api.http.post("/v1/sources/main/reconcile", content=body)
    assert answer.status_code == 422
    assert len(answer.content) < 4096


def test_errors_are_listed_up_to_ten_and_repeat_nothing_at_length(api: Api) -> None:
    answer = api.http.post("/v1/presence/query", content=json.dumps({"uids": [1] * 3000}))
    assert len(fields(answer)) == 10
    assert "and 2,995 more" in answer.json()["detail"]
    for path in (
        f"/v1/presence?{'x' * 30_000}=1",
        f"/v1/sources?{'x' * 30_000}=1",
        "/v1/presence?" + "&".join(map(str, range(5000))),
    ):
        answer = api.http.get(path)
        assert 1 <= len(fields(answer)) <= 10
        assert len(answer.content) < 4096


def test_who_has_no_key_is_counted_and_said(service: Service, api: Api) -> None:
    for key, reason in ((None, "no_key"), ("no-such-key-at-all", "unknown_key"), (KEYS["read"], "scope_missing")):
        before = api.counted("requests_denied", reason=reason)
        with Api(service, key) as other:
            other.http.get("/v1/sources")
        assert api.counted("requests_denied", reason=reason) == before + 1
    assert '"request_denied"' in service.log()
