"""Checks the webhook route of a running service: what is stored, what is refused, and what each input gets."""

import base64
import codecs
import gzip
import hashlib
import json
import threading
from typing import Any

import pytest

from tests.support.service import PATIENCE_SECONDS, PRESENCE_EVENT, SECRET, Api, Service

MAX_BODY = 65_536
REJECTED = 1024
OLD_SECRET = "the-secret-before-this-one"
PROFILES = {"one": "v1", "two-one": "v2.1", "two-two": "v2.2", "three": "v3"}
TABLES = f"""
[[sources]]
name = "main"
profile = "v2.2"
webhook_secret = ["{SECRET}", "{OLD_SECRET}"]
[[sources.nodes]]
name = "n1"
[[sources.nodes]]
name = "n2"
""" + "\n".join(
    f'[[sources]]\nname = "{name}"\nprofile = "{profile}"\nwebhook_secret = "{SECRET}"\n[[sources.nodes]]\nname = "n1"'
    for name, profile in PROFILES.items()
)


@pytest.fixture(scope="module")
def service_settings() -> dict[str, Any]:
    return {"tables": TABLES, "max_body_bytes": MAX_BODY, "rejected_bytes": REJECTED}


def head(api: Api) -> int:
    """The ledger's last position."""
    position: int = api.get("/health/ready")["head"]
    return position


def since(api: Api, position: int) -> list[Any]:
    """The events after a position."""
    items: list[Any] = api.get("/v1/ledger/events", after=str(position), limit=10_000)["items"]
    return items


def counted(api: Api, name: str) -> float:
    """The sum of a counter of `/metrics` over its labels."""
    lines = api.http.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"presence_ledger_{name}_total"))


def test_a_delivery_is_in_the_ledger_once_it_is_answered(api: Api) -> None:
    before = head(api)
    answer = api.hook(["durable-0-1-1-1-1", "durable-1-1-2-1-2"])
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    delivery, first, second = since(api, before)
    assert (delivery["kind"], delivery["items"], delivery["source"], delivery["node"]) == (
        "delivery_received",
        2,
        "main",
        "n1",
    )
    assert [first["raw"], second["raw"]] == ["durable-0-1-1-1-1", "durable-1-1-2-1-2"]
    assert {first["delivery"], second["delivery"]} == {delivery["delivery"]}
    assert (first["uid"], first["verdict"], first["status_before"], first["status_after"]) == (
        "durable",
        "opened",
        "unknown",
        "online",
    )


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (f"/hooks/main/n1/{SECRET}x", "wrong secret"),
        ("/hooks/main/n1/%F0%9F%98%80", "no ASCII"),
        (f"/hooks/main/n3/{SECRET}", "unknown node"),
        (f"/hooks/other/n1/{SECRET}", "unknown source"),
    ],
)
def test_who_does_not_know_the_secret_stores_nothing_and_is_counted(api: Api, path: str, why: str) -> None:
    before, refused = head(api), counted(api, "webhooks_forbidden")
    answer = api.http.post(f"{path}?event={PRESENCE_EVENT}", content=b'["intruder-0-1-1-1-1"]')
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json"), why
    assert answer.json()["status"] == 403
    assert SECRET not in answer.text
    assert (head(api), counted(api, "webhooks_forbidden")) == (before, refused + 1)
    reason = "wrong_secret" if "/main/n1/" in path else why.replace(" ", "_")
    assert f'reason="{reason}"' in api.http.get("/metrics").text
    assert f'"reason": "{reason}"' in api.service.log()


def test_every_secret_of_the_list_is_taken_while_rotating(api: Api) -> None:
    for number, secret in enumerate((SECRET, OLD_SECRET), 1):
        path = api.service.hook_path(secret=secret)
        assert api.http.post(path, content=f'["rotating-0-1-{number}-{number}-{number}"]').status_code == 200
    assert [event["verdict"] for event in api.events("rotating")] == ["opened", "opened"]


@pytest.mark.parametrize("event", ["msg.notify", "msg.offline", "user.onlinestatus2"])
def test_other_events_are_acknowledged_counted_and_not_stored(api: Api, event: str) -> None:
    before, other = head(api), counted(api, "webhooks_other_events")
    answer = api.http.post(f"/hooks/main/n1/{SECRET}?event={event}", content=b'["other-0-1-1-1-1"]')
    assert (answer.status_code, answer.content) == (200, b"")
    assert (head(api), counted(api, "webhooks_other_events")) == (before, other + 1)


@pytest.mark.parametrize(
    "query",
    ["?a=b?event={}", "?flag?event={}", "?a=b%3Fevent={}", "?event=msg.notify?event={}", "?a=b&event={}", "/?event={}"],
)
def test_an_address_with_a_query_or_a_slash_of_its_own_is_taken(api: Api, query: str) -> None:
    """The node appends what it has to say to the address as it is."""
    before = head(api)
    answer = api.http.post(f"/hooks/main/n1/{SECRET}{query.format(PRESENCE_EVENT)}", content=b'["own-0-1-1-1-1"]')
    assert (answer.status_code, answer.content) == (200, b"")
    assert since(api, before)[0]["kind"] == "delivery_received"


@pytest.mark.parametrize("query", ["", "?event=", "?a=b", "?a=b?event=", "?Event=user.onlinestatus"])
def test_a_webhook_that_does_not_say_of_what_is_refused_in_words(api: Api, query: str) -> None:
    before, refused = head(api), counted(api, "webhooks_refused")
    answer = api.http.post(f"/hooks/main/n1/{SECRET}{query}", content=b'["mute-0-1-1-1-1"]')
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert "config wukongim" in answer.json()["detail"]
    assert (head(api), counted(api, "webhooks_refused")) == (before, refused + 1)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
def test_a_gzip_body_and_a_byte_order_mark_are_read_through(api: Api, encoding: str) -> None:
    before = head(api)
    body = gzip.compress(codecs.BOM_UTF8 + b'["zipped-0-1-1-1-1"]')
    answer = api.http.post(api.service.hook_path(), content=body, headers={"Content-Encoding": encoding})
    assert (answer.status_code, answer.content) == (200, b"")
    assert [event.get("uid") for event in since(api, before)] == [None, "zipped"]


def test_what_says_gzip_and_is_none_is_kept_as_it_came(api: Api) -> None:
    before = head(api)
    headers = {"Content-Encoding": "gzip"}
    assert api.http.post(api.service.hook_path(), content=b"\x1f\x8bno", headers=headers).status_code == 200
    assert api.http.post(api.service.hook_path(), content=b'["plain-0-1-1-1-1"]', headers=headers).status_code == 200
    assert [event["kind"] for event in since(api, before)[:2]] == ["body_rejected", "delivery_received"]


@pytest.mark.parametrize(("encoding", "status"), [("gzip", 413), ("br", 415), ("gzip, gzip", 415)])
def test_a_body_beyond_the_bound_once_decoded_or_in_another_encoding(api: Api, encoding: str, status: int) -> None:
    before, refused = head(api), counted(api, "webhooks_refused")
    body = gzip.compress(b" " * (MAX_BODY + 1))
    answer = api.http.post(api.service.hook_path(), content=body, headers={"Content-Encoding": encoding})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (head(api), counted(api, "webhooks_refused")) == (before, refused + 1)


@pytest.mark.parametrize(
    "body",
    [b"", b"no json", b'{"a":1}', b'"text"', b"null", b"7", b'["cut-0-1-1-1-1"', b'["\xff-0-1-1-1-1"]', b"[" * 50_000],
)
def test_a_body_that_is_no_array_is_kept_raw_as_rejected(api: Api, body: bytes) -> None:
    before = head(api)
    answer = api.hook(body)
    assert (answer.status_code, answer.content) == (200, b"")
    [rejected] = since(api, before)
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
def test_a_malformed_element_is_kept_raw_beside_the_good_ones(api: Api, element: str) -> None:
    uid = hashlib.sha256(element.encode()).hexdigest()[:12]
    before = head(api)
    answer = api.hook(f'["{uid}-0-1-1-1-1", {element}, "{uid}-1-1-2-1-2"]'.encode())
    assert (answer.status_code, answer.content) == (200, b"")
    delivery, first, rejected, second = since(api, before)
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
    before = head(api)
    api.deliver()
    [delivery] = since(api, before)
    assert (delivery["kind"], delivery["items"]) == ("delivery_received", 0)


def test_the_same_body_again_is_a_repeated_delivery(api: Api) -> None:
    before = head(api)
    api.deliver("again-0-1-1-1-1")
    api.deliver("again-0-1-1-1-1")
    api.deliver("again-0-1-1-1-1", node="n2")
    first, _, second, item, other, _ = since(api, before)
    assert (first["repeats"], second["repeats"], other["repeats"]) == (None, first["delivery"], None)
    assert (item["verdict"], item["repeated"]) == ("duplicate", True)
    assert second["first_received_at"] == first["received_at"]


def test_identical_bodies_in_flight_are_recorded_as_the_same(api: Api) -> None:
    items = [f"shared-{number}-0-1-{number}-1-1" for number in range(1500)]
    body = json.dumps(items).encode()
    before, answers = head(api), list[int]()
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
    deliveries = [event for event in since(api, before) if event["kind"] == "delivery_received"]
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
    before, refused = head(api), counted(api, "webhooks_refused")
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
        assert (head(api), counted(api, "webhooks_refused")) == (before, refused + 1)
        nodes = {node["name"]: node for node in api.get("/v1/sources")["items"][0]["nodes"]}
        assert nodes["n1"]["since_start"]["refused_too_large"] >= 1
    else:
        assert (answer.status, text) == (200, b"")
        assert head(api) == before + 2


@pytest.mark.parametrize("event", [PRESENCE_EVENT, "msg.notify"])
def test_a_body_that_its_sender_cuts_off_stores_nothing(service: Service, api: Api, event: str) -> None:
    before = head(api)
    connection = service.connection()
    connection.putrequest("POST", f"/hooks/main/n1/{SECRET}?event={event}")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b'["cut-off-0-1-1-1-1"]')
    connection.close()
    api.deliver(f"after-{event}-0-1-1-1-1")
    assert [event.get("uid") for event in since(api, before)] == [None, f"after-{event}"]


@pytest.mark.parametrize("source", PROFILES)
def test_each_profile_reads_its_counts_in_its_own_way(api: Api, source: str) -> None:
    """App and web come; the app's connection goes; what the web's online and the last offline say differs."""
    uid = f"profile-{source}"
    onlines = {
        "one": [f"{uid}-0-1-1-1-1", f"{uid}-1-1-2-1-2"],
        "two-one": [f"{uid}-0-1-1-0-0", f"{uid}-1-1-2-0-1"],
        "two-two": [f"{uid}-0-1-1-1-1", f"{uid}-1-1-2-1-2"],
        "three": [f"{uid}-0-1-1-1-1", f"{uid}-1-1-2-1-2"],
    }[source]
    api.deliver(*onlines, source=source)
    presence = api.presence(uid)
    assert presence["status"] == "online"
    assert [(d["device_flag"], d["status"], d["sessions"]) for d in presence["devices"]] == [
        (0, "online", 1),
        (1, "online", 1),
    ]
    assert {(event["implied"], event["implied_elsewhere"]) for event in api.events(uid)} == {(0, 0)}
    if source != "three":
        # In v3 a device that goes while another stays says nothing.
        api.deliver(f"{uid}-0-0-1-0-1", source=source)
        assert [d["status"] for d in api.presence(uid)["devices"]] == ["offline", "online"]
    api.deliver(f"{uid}-1-0-2-0-0", source=source)
    presence = api.presence(uid)
    assert (presence["status"], [d["status"] for d in presence["devices"]]) == ("offline", ["offline"] * 2)
    assert api.events(uid)[-1]["emptied"]


def test_wrong_methods_and_queries_are_problems(api: Api) -> None:
    answer = api.http.get(api.service.hook_path())
    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")
    assert SECRET not in answer.text


def test_no_secret_shows_in_log_errors_or_metrics(service: Service, api: Api) -> None:
    """Whatever was asked for before this in this module, and a few things that go wrong near a secret."""
    texts = [
        api.http.post(f"/hooks/main/n1/{SECRET}/more").text,
        api.http.put(service.hook_path(), content=b"x").text,
        api.http.post(f"{service.hook_path()}&event=%FF", content=b"[").text,
        api.http.get("/metrics").text,
        api.http.get("/v1/sources").text,
        api.http.get("/openapi.json").text,
        json.dumps(api.ledger()),
        service.log(),
    ]
    assert '"defect"' not in service.log()
    admin = (service.data_dir / "admin.key").read_text(encoding="utf-8").strip()
    for text in texts:
        for secret in (SECRET, OLD_SECRET, admin, "admin-key-of-the-tests", "%2Fhooks", "/hooks/main"):
            if not (secret == "/hooks/main" and '"openapi"' in text):
                assert secret not in text
