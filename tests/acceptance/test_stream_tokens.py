"""Tokens of streams: for these users' presence and stream and nothing else, for a time, until all are revoked."""

import base64
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx2
import pytest

from tests.support.service import KEYS, Api, wait_for
from tests.support.streams import FrontedService, Socket

ORIGIN = "https://app.example"


@pytest.fixture(scope="module")
def service_settings() -> dict[str, Any]:
    return {"front_origins": [ORIGIN]}


@pytest.fixture(scope="module")
def service(fronted_service: FrontedService) -> FrontedService:
    with Api(fronted_service) as api:
        api.deliver("bob-0-1-1-1-1", "carol-0-1-2-1-1")
        assert api.http.put("/v1/lists/friends", json={"uids": ["bob", "carol"]}).status_code == 201
    return fronted_service


def made(api: Api, **order: Any) -> str:
    answer = api.http.post("/v1/stream/tokens", json=order)
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["token"]
    return token


@contextmanager
def front(service: FrontedService, token: str) -> Iterator[httpx2.Client]:
    """A client of the front with a token, as a page of the app has it."""
    headers = {"Authorization": f"Bearer {token}", "Origin": ORIGIN}
    with httpx2.Client(base_url=service.front, headers=headers, trust_env=False, timeout=60) as client:
        yield client


def test_a_token_is_for_its_users_and_nothing_else(service: FrontedService, api: Api) -> None:
    token = made(api, uids=["bob", "never"])
    with front(service, token) as client:
        answer = client.get("/v1/users/bob/presence")
        assert (answer.status_code, answer.json()["status"]) == (200, "online")
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert client.post("/v1/presence/query", json={"uids": ["never", "bob"]}).status_code == 200
        refused = client.get("/v1/users/carol/presence")
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (403, ORIGIN)
        assert client.post("/v1/presence/query", json={"uids": ["bob", "carol"]}).status_code == 403
        past = {"at": answer.json()["as_of"]["at"]}
        assert client.get("/v1/users/bob/presence", params=past).status_code == 403
        for method, path in (
            ("GET", "/v1/presence"), ("GET", "/v1/presence/summary"), ("GET", "/v1/users/bob/events"),
            ("GET", "/v1/lists"), ("GET", "/v1/lists/friends/presence"), ("POST", "/v1/stream/tokens"),
            ("GET", "/openapi.json"),
        ):  # fmt: skip
            assert client.request(method, path).status_code == 403, path


def test_a_token_may_stand_in_the_address(service: FrontedService, api: Api) -> None:
    token = made(api, uids=["bob"])
    for base in (service.front, service.url):
        url = f"{base}/v1/users/bob/presence"
        assert httpx2.get(url, params={"token": token}, trust_env=False).json()["status"] == "online"
        assert httpx2.get(url, params={"token": KEYS["admin"]}, trust_env=False).status_code == 401
        assert httpx2.get(url, params={"token": "", "x": "y"}, trust_env=False).status_code == 401
    with service.stream("bob", key=None, query={"token": token}) as stream:
        assert [each.data["uid"] for each in stream.until("ready") if each.event == "presence"] == ["bob"]
    assert token not in service.log()


def test_a_stream_by_token_tells_of_its_users(service: FrontedService, api: Api) -> None:
    token = made(api, uids=["bob", "dave"])
    with service.stream(key=token) as stream:
        assert [each.data["uid"] for each in stream.until("ready") if each.event == "presence"] == ["bob", "dave"]
        api.deliver("carol-0-0-2-0-0", "dave-0-1-3-1-1")
        assert stream.until("presence")[-1].data["uid"] == "dave"
    for uids, query in ((("carol",), {}), (("bob", "carol"), {}), ((), {"list": "friends"})):
        with service.stream(*uids, key=token, query=query) as stream:
            assert stream.response.status_code == 403
    with closing(Socket(service.front_port, f"/v1/ws?uid=bob&token={token}", key=None)) as websocket:
        websocket.until("ready")
        websocket.send({"watch": ["carol"]})
        assert "other users" in websocket.until("problem")[-1]["data"]["detail"]
        websocket.send({"watch": ["dave"]})
        assert websocket.until("presence")[-1]["data"]["uid"] == "dave"
    with closing(Socket(service.front_port, f"/v1/ws?uid=carol&token={token}", key=None)) as websocket:
        assert websocket.receive()[0] == 1008


def test_a_token_for_a_list_follows_it(service: FrontedService, api: Api) -> None:
    assert api.http.put("/v1/lists/its-own", json={"uids": ["bob"]}).status_code == 201
    token = made(api, list="its-own")
    with front(service, token) as client, service.stream(key=token) as stream:
        assert [each.data["uid"] for each in stream.until("ready") if each.event == "presence"] == ["bob"]
        assert client.get("/v1/users/bob/presence").status_code == 200
        assert client.get("/v1/users/carol/presence").status_code == 403
        assert api.http.patch("/v1/lists/its-own", json={"add": ["carol"], "remove": ["bob"]}).status_code == 200
        assert stream.until("presence")[-1].data["uid"] == "carol"
        assert client.get("/v1/users/carol/presence").status_code == 200
        assert client.get("/v1/users/bob/presence").status_code == 403
        assert len(client.get("/v1/lists/its-own/presence").json()["items"]) == 1
        assert client.get("/v1/lists/its-own/summary").status_code == 200
        assert client.get("/v1/lists/friends/presence").status_code == 403
        assert client.get("/v1/lists/its-own").status_code == 403
        with service.stream("carol", key=token) as named:
            assert named.response.status_code == 403


def test_an_expired_token_is_none_and_its_stream_ends(service: FrontedService, api: Api) -> None:
    token = made(api, uids=["bob"], expires_seconds=2)
    with service.stream(key=token) as stream, closing(
        Socket(service.front_port, f"/v1/ws?token={token}", key=None)
    ) as websocket:  # fmt: skip
        stream.until("ready")
        websocket.until("ready")
        stream.rest()
        closed = websocket.receive()
        while not isinstance(closed, tuple):
            closed = websocket.receive()
        assert closed == (1008, "the token has expired")
    with front(service, token) as client:
        answer = client.get("/v1/users/bob/presence")
        assert (answer.status_code, "expired" in answer.json()["detail"]) == (401, True)
    with service.stream(key=token) as stream:
        assert stream.response.status_code == 401


def test_what_is_forged_is_none_of_ours(service: FrontedService, api: Api) -> None:
    header, claims, signature = made(api, uids=["bob"]).split(".")

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    decoded = json.loads(base64.urlsafe_b64decode(claims + "=="))
    others = part(decoded | {"uids": ["carol"]})
    unsigned = part({"alg": "none", "typ": "JWT", "kid": "x"})
    for token in (f"{header}.{others}.{signature}", f"{unsigned}.{claims}.", f"{header}.{claims}.AAAA", "eyJ.a.b"):
        with front(service, token) as client:
            assert client.get("/v1/users/carol/presence").status_code == 401
        with service.stream("carol", key=None, query={"token": token}) as stream:
            assert stream.response.status_code == 401


def test_all_are_revoked_at_once(service: FrontedService, api: Api) -> None:
    token = made(api, uids=["bob"])
    with service.stream(key=token) as stream:
        stream.until("ready")
        assert service.command("keys", "revoke-tokens").returncode == 0
        stream.rest()
    with front(service, token) as client:
        wait_for(lambda: client.get("/v1/users/bob/presence").status_code == 401)

    def opens() -> bool:
        with service.stream(key=made(api, uids=["bob"])) as again:
            return again.response.status_code == 200

    wait_for(opens)


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({}, "uids"),
        ({"uids": ["a"], "list": "friends"}, "uids"),
        ({"uids": []}, "uids"),
        ({"uids": [""]}, "uids.0"),
        ({"uids": [f"u{number}" for number in range(1_001)]}, "uids"),
        ({"uids": ["x" * 1_000 + str(number) for number in range(100)]}, "uids"),
        ({"list": ""}, "list"),
        ({"uids": ["a"], "expires_seconds": 0}, "expires_seconds"),
        ({"uids": ["a"], "expires_seconds": 86_401}, "expires_seconds"),
        ({"uids": ["a"], "expires_seconds": "600"}, "expires_seconds"),
        ({"uids": ["a"], "scopes": ["admin"]}, "scopes"),
    ],
)
def test_what_is_asked_wrongly(api: Api, order: Any, field: str) -> None:
    answer = api.http.post("/v1/stream/tokens", json=order)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize(("scope", "status"), [("read", 403), ("audit", 403), ("watch", 200), (None, 401)])
def test_who_may_make_them(service: FrontedService, scope: str | None, status: int) -> None:
    with Api(service, scope and KEYS[scope]) as other:
        assert other.http.post("/v1/stream/tokens", json={"uids": ["bob"]}).status_code == status
        unknown = other.http.post("/v1/stream/tokens", json={"list": "unknown"}).status_code
        assert unknown == (404 if status == 200 else status)
