"""What must hold of any ledger, whatever happened to the service: its events against its statuses and its numbers."""

from collections import defaultdict
from typing import Any

from tests.support.service import Api


def check_ledger(api: Api) -> list[Any]:
    """Every event of the ledger, after checking that it is one: no gap, no double, statuses as the events tell."""
    events = api.ledger()
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))
    streams = defaultdict(list)
    for event in events:
        streams[event.get("uid") or f"source {event['source']}"].append(event)
    for name, stream in streams.items():
        assert [event["version"] for event in stream] == list(range(1, len(stream) + 1)), name
    users = {uid: stream for uid, stream in streams.items() if "uid" in stream[0]}
    for uid, stream in users.items():
        before = ["unknown", *(event["status_after"] for event in stream)]
        assert [event["status_before"] for event in stream] == before[:-1], uid
    shown = {presence["uid"]: presence for presence in api.pages("/v1/presence", limit=10_000)}
    assert {uid: (stream[-1]["status_after"], len(stream)) for uid, stream in users.items()} == {
        uid: (presence["status"], presence["version"]) for uid, presence in shown.items()
    }
    _check_deliveries(events)
    return events


def _check_deliveries(events: list[Any]) -> None:
    """The events of a delivery's items follow it at once, all of them, in their order."""
    for event in events:
        if event["kind"] == "delivery_received":
            items = events[event["position"] : event["position"] + event["items"]]
            assert [(e["delivery"], e["item"]) for e in items] == [
                (event["delivery"], number) for number in range(event["items"])
            ], event
