"""Checks the routes of the record on a running service: a user's events, the ledger, a delivery and its items."""

import json

import pytest

from tests.support.service import Api, segment


def test_a_users_stream_page_by_page_and_line_by_line(api: Api) -> None:
    for number in range(1, 26):
        api.deliver(f"stream-0-1-{number}-{number}-{number}", f"beside-0-1-{number}-1-1")
    path = "/v1/users/stream/events"
    events = api.events("stream", limit=4)
    assert [event["version"] for event in events] == list(range(1, 26))
    assert [event["position"] for event in events] == sorted(event["position"] for event in events)
    assert {event["uid"] for event in events} == {"stream"}
    assert events == api.events("stream") == api.events("stream", order="desc", limit=7)[::-1]
    lines = api.http.get(path, headers={"Accept": "application/x-ndjson"})
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line) for line in lines.text.splitlines()] == events
    after = api.http.get(path, headers={"Accept": "application/x-ndjson"}, params={"after": "20", "order": "asc"})
    assert [json.loads(line) for line in after.text.splitlines()] == events[20:]


def test_an_event_has_every_field_of_the_interface(api: Api) -> None:
    api.deliver("first-0-1-1-1-1", "fields-0-1-2-1-1")
    [event] = api.events("fields")
    expected = {
        "uid": "fields",
        "version": 1,
        "kind": "webhook_observed",
        "source": "main",
        "node": "n1",
        "item": 1,
        "raw": "fields-0-1-2-1-1",
        "verdict": "opened",
        "status_before": "unknown",
        "status_after": "online",
    }
    assert {name: event[name] for name in expected} == expected
    assert event["rule"]
    assert event["received_at"] <= event["recorded_at"]
    assert event["position"] == api.head()


def test_events_between_two_instants(api: Api) -> None:
    for number in range(1, 7):
        api.deliver(f"between-0-1-{number}-{number}-{number}")
    events = api.events("between")
    third, fifth = events[2]["recorded_at"], events[4]["recorded_at"]
    assert api.events("between", **{"from": third}) == events[2:]
    assert api.events("between", to=fifth) == events[:4]
    for order in ("asc", "desc"):
        found = api.events("between", order=order, limit=1, **{"from": third, "to": fifth})
        assert sorted(event["version"] for event in found) == [3, 4]
    shifted = third.replace("Z", "+00:00")
    assert api.events("between", **{"from": shifted, "to": third}) == []


@pytest.mark.parametrize("instant", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-12:00"])
def test_instants_at_the_ends_of_time_are_no_defect(api: Api, instant: str) -> None:
    answer = api.http.get("/v1/users/u/events", params={"from": instant})
    assert answer.status_code in {200, 422}, answer.text


def test_the_ledger_by_position_to_the_end_and_on(api: Api) -> None:
    events = api.ledger()
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))
    assert [event["recorded_at"] for event in events] == sorted(event["recorded_at"] for event in events)
    assert [event["kind"] for event in events[:2]] == ["service_started", "configured"]
    assert events == list(api.pages("/v1/ledger/events", limit=7))
    end = str(events[-1]["position"])
    assert api.get("/v1/ledger/events", after=end) == {"items": [], "next": None}
    api.deliver("later-0-1-1-1-1")
    assert [event.get("uid") for event in api.get("/v1/ledger/events", after=end)["items"]] == [None, "later"]


def test_a_delivery_and_what_became_of_each_item(api: Api) -> None:
    api.deliver("deliver-0-1-1-1-1", 7, "deliver-0-1-1-1-1", "deliver-0-0-1-0-0")
    delivery = api.events("deliver")[0]["delivery"]
    found = api.get(f"/v1/deliveries/{delivery}")
    assert (found["delivery"]["delivery"], found["delivery"]["items"], found["next"]) == (delivery, 4, None)
    assert [(e["kind"], e["item"], e.get("verdict")) for e in found["items"]] == [
        ("webhook_observed", 0, "opened"),
        ("item_rejected", 1, None),
        ("webhook_observed", 2, "duplicate"),
        ("webhook_observed", 3, "closed"),
    ]
    assert list(api.pages(f"/v1/deliveries/{delivery}", limit=3)) == found["items"]


@pytest.mark.parametrize("delivery", ["x", "00000000-0000-7000-8000-000000000000", "\0", "用户", "'"])
def test_a_delivery_that_is_not_there(api: Api, delivery: str) -> None:
    answer = api.http.get(f"/v1/deliveries/{segment(delivery)}")
    assert (answer.status_code, answer.json()["title"]) == (404, "Not found")


def test_what_is_no_route_is_a_problem(api: Api) -> None:
    for path in ("/", "/v1", "/v1/users//presence", "/v1/users/u/nothing"):
        answer = api.http.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path
