"""Checks what becomes of a webhook's body: how it is read, what is kept of it as rejected, and its bound."""

import base64
import codecs
import gzip
import hashlib
import json
import threading
from typing import Any

import pytest

from tests.support.service import PATIENCE_SECONDS, PRESENCE_EVENT, SECRET, Api, Service, source_table

MAX_BODY = 65_536
REJECTED = 1024


@pytest.fixture(scope="module")
def service_settings() -> dict[str, Any]:
    return {
        "tables": source_table("main", {"n1": "", "n2": ""}),
        "max_body_bytes": MAX_BODY,
        "rejected_bytes": REJECTED,
    }


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
def test_a_gzip_body_and_a_byte_order_mark_are_read_through(api: Api, encoding: str) -> None:
    before = api.head()
    body = gzip.compress(codecs.BOM_UTF8 + b'["zipped-0-1-1-1-1"]')
    answer = api.http.post(api.service.hook_path(), content=body, headers={"Content-Encoding": encoding})
    assert (answer.status_code, answer.content) == (200, b"")
    assert [event.get("uid") for event in api.since(before)] == [None, "zipped"]


def test_what_says_gzip_and_is_none_is_kept_as_it_came(api: Api) -> None:
    before = api.head()
    headers = {"Content-Encoding": "gzip"}
    assert api.http.post(api.service.hook_path(), content=b"\x1f\x8bno", headers=headers).status_code == 200
    assert api.http.post(api.service.hook_path(), content=b'["plain-0-1-1-1-1"]', headers=headers).status_code == 200
    assert [event["kind"] for event in api.since(before)[:2]] == ["body_rejected", "delivery_received"]


@pytest.mark.parametrize(("encoding", "status"), [("gzip", 413), ("br", 415), ("gzip, gzip", 415)])
def test_a_body_beyond_the_bound_once_decoded_or_in_another_encoding(api: Api, encoding: str, status: int) -> None:
    before, refused = api.head(), api.refused()
    body = gzip.compress(b" " * (MAX_BODY + 1))
    answer = api.http.post(api.service.hook_path(), content=body, headers={"Content-Encoding": encoding})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (api.head(), api.refused()) == (before, refused + 1)


@pytest.mark.parametrize(
    "body",
    [b"", b"no json", b'{"a":1}', b'"text"', b"null", b"7", b'["cut-0-1-1-1-1"', b'["\xff-0-1-1-1-1"]', b"[" * 50_000],
)
def test_a_body_that_is_no_array_is_kept_raw_as_rejected(api: Api, body: bytes) -> None:
    before = api.head()
    answer = api.hook(body)
    assert (answer.status_code, answer.content) == (200, b"")
    [rejected] = api.since(before)
    assert (rejected["kind"], rejected["source"], rejected["node"]) == ("body_rejected", "main", "n1")
    assert base64.b64decode(rejected["raw_base64"]) == body[:REJECTED]
    assert (rejected["size"], rejected["digest"]) == (len(body), hashlib.sha256(body).hexdigest())
    assert rejected["reason"]
    found = api.get(f"/v1/deliveries/{rejected['delivery']}")
    assert (found["delivery"]["position"], found["items"], found["next"]) == (rejected["position"], [], None)


MALFORMED = [
    '""',
    '"a"',
    "7",
    "null",
    "{}",
    '["nested-0-1-1-1-1"]',
    f'"a-0-1-{2**63}-1-1"',
    f'"a-0-1-{10**30}-1-1"',
    "1" * 5000,
    '"a-256-1-1-1-1"',
    '"a-0-2-1-1-1"',
    '"-0-1-1-1-1"',
    '"n\\u0000l-0-1-1-1-1"',
    '"\\ud800-0-1-1-1-1"',
    f'"{"x" * 1025}-0-1-1-1-1"',
    f'"{"é" * 513}-0-1-1-1-1"',
]


@pytest.mark.parametrize("element", MALFORMED, ids=lambda text: text[:24])
def test_a_malformed_element_is_kept_raw_next_to_the_good_ones(api: Api, element: str) -> None:
    uid = hashlib.sha256(element.encode()).hexdigest()[:12]
    before = api.head()
    answer = api.hook(f'["{uid}-0-1-1-1-1", {element}, "{uid}-1-1-2-1-2"]'.encode())
    assert (answer.status_code, answer.content) == (200, b"")
    delivery, first, rejected, second = api.since(before)
    assert (delivery["items"], delivery["rejected"]) == (3, 1)
    assert [(event["uid"], event["verdict"]) for event in (first, second)] == [(uid, "opened")] * 2
    assert (rejected["kind"], rejected["item"], rejected["delivery"]) == ("item_rejected", 1, delivery["delivery"])
    size = len(element.encode())
    if size <= REJECTED:
        # An element without escapes is kept as its JSON text, letter by letter; else it means the same.
        assert rejected["raw"] == element or json.loads(rejected["raw"]) == json.loads(element)
        assert rejected["digest"] is None
    else:
        assert rejected["raw"] == element.encode()[:REJECTED].decode(errors="ignore")
        assert (rejected["size"], rejected["digest"]) == (size, hashlib.sha256(element.encode()).hexdigest())
    assert rejected["reason"]


def test_an_empty_array_is_a_delivery_without_items(api: Api) -> None:
    before = api.head()
    api.deliver()
    [delivery] = api.since(before)
    assert (delivery["kind"], delivery["items"]) == ("delivery_received", 0)


def test_the_same_body_again_is_a_repeated_delivery(api: Api) -> None:
    before = api.head()
    api.deliver("again-0-1-1-1-1")
    api.deliver("again-0-1-1-1-1")
    api.deliver("again-0-1-1-1-1", node="n2")
    first, _, second, item, other, _ = api.since(before)
    assert (first["repeats"], second["repeats"], other["repeats"]) == (None, first["delivery"], None)
    assert (item["verdict"], item["repeated"]) == ("duplicate", True)
    assert second["first_received_at"] == first["received_at"]


def test_identical_bodies_in_flight_are_recorded_as_the_same(api: Api) -> None:
    items = [f"shared-{number}-0-1-{number}-1-1" for number in range(1500)]
    body = json.dumps(items).encode()
    before, answers = api.head(), list[int]()
    gate = threading.Barrier(4)

    def post() -> None:
        with Api(api.service) as mine:
            mine.get("/health/live")
            gate.wait(PATIENCE_SECONDS)
            answers.append(mine.hook(body).status_code)

    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert answers == [200] * 4
    deliveries = [event for event in api.since(before) if event["kind"] == "delivery_received"]
    # How many come before the first is committed, and share its commit, is the machine's affair.
    assert 1 <= len(deliveries) <= 4
    assert deliveries[0]["repeats"] is None
    assert all(event["repeats"] == deliveries[0]["delivery"] for event in deliveries[1:])


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
@pytest.mark.parametrize("over", [0, 1])
def test_a_body_is_taken_up_to_the_bound(service: Service, api: Api, chunked: bool, over: int) -> None:
    item = f'"size-{chunked}-0-1-1-1-1"'
    body = f"[{item}{' ' * (MAX_BODY - len(item) - 2 + over)}]".encode()
    assert len(body) == MAX_BODY + over
    before, refused = api.head(), api.refused()
    connection = service.connection()
    parts = (body[start : start + 10_000] for start in range(0, len(body), 10_000))
    connection.request(
        "POST",
        service.hook_path(),
        parts if chunked else body,
        encode_chunked=chunked,
        headers={"Transfer-Encoding": "chunked"} if chunked else {},
    )
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if over:
        assert (answer.status, answer.getheader("content-type")) == (413, "application/problem+json")
        assert "max_body_bytes" in text.decode()
        assert (api.head(), api.refused()) == (before, refused + 1)
        nodes = {node["name"]: node for node in api.get("/v1/sources")["items"][0]["nodes"]}
        assert nodes["n1"]["since_start"]["refused_too_large"] >= 1
    else:
        assert (answer.status, text) == (200, b"")
        assert api.head() == before + 2


@pytest.mark.parametrize("event", [PRESENCE_EVENT, "msg.notify"])
def test_a_body_that_its_sender_cuts_off_stores_nothing(service: Service, api: Api, event: str) -> None:
    before = api.head()
    connection = service.connection()
    connection.putrequest("POST", f"/hooks/main/n1/{SECRET}?event={event}")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b'["cut-off-0-1-1-1-1"]')
    connection.close()
    api.deliver(f"after-{event}-0-1-1-1-1")
    assert [event.get("uid") for event in api.since(before)] == [None, f"after-{event}"]
