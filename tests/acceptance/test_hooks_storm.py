"""Checks a reconnect storm: one POST of two hundred thousand items, taken whole."""

import json
import time
from pathlib import Path

from tests.support.service import Api, new_service

STORM = 200_000


def test_a_storm_of_two_hundred_thousand_is_taken_whole(database_url: str, tmp_path: Path) -> None:
    with new_service(tmp_path, tmp_path / "data", database_url=database_url) as service, Api(service.start()) as api:
        body = json.dumps([f"storm-{number}-0-1-{number}-1-1" for number in range(STORM)]).encode()
        began = time.monotonic()
        assert api.hook(body).status_code == 200
        seconds = time.monotonic() - began
        print(f"{STORM} items in one POST: {seconds:.2f} s")  # noqa: T201
        assert api.get("/v1/presence/summary")["users"] == {"online": STORM, "offline": 0, "unknown": 0}
        [delivery] = api.source_events("delivery_received")
        assert (delivery["items"], delivery["rejected"]) == (STORM, 0)
        seen, after = set(), str(delivery["position"])
        while True:
            page = api.get("/v1/ledger/events", after=after, limit=10_000)
            seen |= {event["raw"] for event in page["items"]}
            if page["next"] is None:
                break
            after = page["next"]
        assert len(seen) == STORM
