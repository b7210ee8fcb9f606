"""Checks the webhook route of a running service: who may post what to which address, and what is never shown."""

import json
from typing import Any

import pytest

from tests.support.service import PRESENCE_EVENT, SECRET, Api, Service, source_table

OLD_SECRET = "the-secret-before-this-one"
PROFILES = {"one": "v1", "two-one": "v2.1", "two-two": "v2.2", "three": "v3"}
MAIN = source_table("main", {"n1": "", "n2": ""}, webhook_secret=[SECRET, OLD_SECRET])
TABLES = MAIN + "".join(source_table(name, {"n1": ""}, profile=profile) for name, profile in PROFILES.items())


@pytest.fixture(scope="module")
def service_settings() -> dict[str, Any]:
    return {"tables": TABLES}


def test_a_delivery_is_in_the_ledger_once_it_is_answered(api: Api) -> None:
    before = api.head()
    answer = api.hook(["durable-0-1-1-1-1", "durable-1-1-2-1-2"])
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    delivery, first, second = api.since(before)
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
    before, refused = api.head(), api.counted("webhooks_forbidden")
    answer = api.http.post(f"{path}?event={PRESENCE_EVENT}", content=b'["intruder-0-1-1-1-1"]')
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json"), why
    assert answer.json()["status"] == 403
    assert SECRET not in answer.text
    assert (api.head(), api.counted("webhooks_forbidden")) == (before, refused + 1)
    assert api.counted("webhook_deliveries", outcome="forbidden") == refused + 1
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
    before, other = api.head(), api.counted("webhook_deliveries", outcome="other_event")
    answer = api.http.post(f"/hooks/main/n1/{SECRET}?event={event}", content=b'["other-0-1-1-1-1"]')
    assert (answer.status_code, answer.content) == (200, b"")
    assert (api.head(), api.counted("webhook_deliveries", outcome="other_event")) == (before, other + 1)


@pytest.mark.parametrize(
    "query",
    ["?a=b?event={}", "?flag?event={}", "?a=b%3Fevent={}", "?event=msg.notify?event={}", "?a=b&event={}", "/?event={}"],
)
def test_an_address_with_a_query_or_a_slash_of_its_own_is_taken(api: Api, query: str) -> None:
    """The node appends what it has to say to the address as it is."""
    before = api.head()
    answer = api.http.post(f"/hooks/main/n1/{SECRET}{query.format(PRESENCE_EVENT)}", content=b'["own-0-1-1-1-1"]')
    assert (answer.status_code, answer.content) == (200, b"")
    assert api.since(before)[0]["kind"] == "delivery_received"


@pytest.mark.parametrize("query", ["", "?event=", "?a=b", "?a=b?event=", "?Event=user.onlinestatus"])
def test_a_webhook_that_does_not_say_of_what_is_refused_in_words(api: Api, query: str) -> None:
    before, refused = api.head(), api.refused()
    answer = api.http.post(f"/hooks/main/n1/{SECRET}{query}", content=b'["mute-0-1-1-1-1"]')
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert "config wukongim" in answer.json()["detail"]
    assert (api.head(), api.refused()) == (before, refused + 1)


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
