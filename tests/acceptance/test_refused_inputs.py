"""Inputs that a route's schema allows and that are refused all the same: its description tells of each."""

import json
import re

import pytest

from tests.support.refused import told_of
from tests.support.service import Api

AT = "2026-11-23T08:20:46Z"
LEAP, NEVER, FUTURE = "2016-12-31T23:59:60Z", "9999-12-31T23:59:59-01:00", "2999-01-01T00:00:00Z"
LISTS = (
    "/v1/presence",
    "/v1/users/u/events",
    "/v1/ledger/events",
    "/v1/users/u/timeline",
    "/v1/users/u/sessions",
    "/v1/drift/summary",
    "/v1/sources/main/runs",
    "/v1/drift",
    "/v1/blind",
)
REFUSED = [
    *((path, {"after": "!"}) for path in LISTS),
    ("/v1/deliveries/0", {"after": "!"}),
    *(
        (path, query)
        for path in ("/v1/users/u/presence", "/v1/users/u/explain")
        for query in (
            {"known_at": AT},
            {"position": "0"},
            {"at": AT, "known_at": AT, "position": "0"},
            {"at": FUTURE},
            {"at": AT, "known_at": FUTURE},
            {"at": AT, "known_at": "2026-11-22T08:20:46Z"},
            {"at": AT, "position": "9223372036854775807"},
            {"at": LEAP},
            {"at": NEVER},
        )
    ),
    *(
        (path, query)
        for path in ("/v1/users/u/events", "/v1/users/u/timeline", "/v1/drift/summary", "/v1/loss", "/v1/blind")
        for query in ({"from": AT, "to": "2026-11-22T08:20:46Z"}, {"from": LEAP}, {"to": NEVER})
    ),
    ("/v1/presence", {"source": "\0"}),
    ("/v1/users/u/sessions", {"source": "\0"}),
    ("/v1/drift", {"source": "\0"}),
    ("/v1/drift", {"node": "\0"}),
    ("/v1/loss", {"from": "2026-01-01T00:00:00Z", "to": "2026-11-23T08:20:46Z"}),
    ("/v1/loss", {"source": "\0"}),
    ("/v1/blind", {"source": "\0"}),
]
HALF = b'"\\ud800"'
REFUSED_BODIES = [
    *(
        ("POST", "/v1/presence/query", json.dumps({"uids": [], **more}).encode())
        for more in (
            {"known_at": AT},
            {"position": 0},
            {"at": AT, "known_at": AT, "position": 0},
            {"at": FUTURE},
            {"at": AT, "position": 7.0},
            {"at": AT, "position": 2**62},
            {"at": LEAP},
        )
    ),
    ("POST", "/v1/presence/query", b'{"uids":[' + HALF + b"]}"),
    ("POST", "/v1/reach/query", b'{"uids":[' + HALF + b"]}"),
    *(
        ("POST", "/v1/sources/main/reconcile", b'{"uids":[' + uid + b"]}")
        for uid in (b'""', b'"\\u0000"', b'"' + b"u" * 1025 + b'"', HALF)
    ),
    ("PUT", "/v1/users/%00/tier", b'{"tier":"vip"}'),
    ("PUT", f"/v1/users/{'u' * 1025}/tier", b'{"tier":"vip"}'),
    *(
        ("PUT", f"/v1/users/{uid}/override", b'{"status":"online","reason":' + reason + b',"expires_seconds":60}')
        for uid, reason in (("%00", b'"r"'), ("never-seen", b'"r"'), ("u", b'" "'), ("u", b'"\\u0000"'), ("u", HALF))
    ),
    ("DELETE", "/v1/users/%00/override", b""),
]


@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        *(pytest.param("GET", path, query, b"", id=f"{path} {query}") for path, query in REFUSED),
        *(
            pytest.param(method, path, {}, body, id=f"{path[:40]} {body[:60]!r}")
            for method, path, body in REFUSED_BODIES
        ),
    ],
)
def test_what_its_schema_allows_and_is_refused_is_told_of(
    api: Api, method: str, path: str, query: dict[str, str], body: bytes
) -> None:
    answer = api.http.request(method, path, params=query, content=body)
    assert answer.status_code == 422, answer.text
    names = {r"/users/[^/]+/": "/users/{uid}/", "/deliveries/0": "/deliveries/{delivery}", "/main/": "/{source}/"}
    for name, pattern in names.items():
        path = re.sub(name, pattern, path)
    described = api.get("/openapi.json")["paths"][path][method.lower()]["responses"]["422"]["description"]
    assert told_of(answer.json()["detail"]) in described
