"""Checks a service whose ledger a newer version has written to: it refuses what it cannot judge, and still answers."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.store.ledger import Ledger
from ledger.store.mapper import source_stream
from tests.support import newer
from tests.support.ledgers import opened
from tests.support.service import Api, Service, new_service, wait_for


def logged(service: Service, event: str) -> int:
    return service.log().count(f'"event": "{event}"')


def starts(ledger: Ledger) -> int:
    rows = ledger.events_recorder.stream_rows(source_stream("main"), limit=10_000)
    return sum(row.kind == "service_started.v1" for row in rows)


def assert_refuses_and_reads(api: Api, says: str) -> None:
    for answer in (api.hook(["bob-0-1-2-1-1"]), api.http.get("/health/ready")):
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert answer.headers["retry-after"] == "1"
        problem = answer.json()
        assert problem["title"] == "Source unreadable"
        assert re.search(says, problem["detail"])
    assert api.get("/health/live")["status"] == "live"
    assert (api.presence("alice")["status"], api.presence("bob")["status"]) == ("online", "unknown")
    assert len(api.events("alice")) == 1
    [source] = api.get("/v1/sources")["items"]
    assert source["health"] == "degraded"
    assert re.search(says, source["reasons"][0])
    assert source["nodes"][0]["since_start"]["refused_source_unreadable"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("leave", "says", "complaints"),
    [
        (newer.leave_an_event, f"{newer.SAYS}which this version does not know; run the newer one", 1),
        # A reader of the stream meets the event first, and after that what it has come to.
        (newer.configure, newer.SAYS_KEPT, 2),
    ],
    ids=["event", "state"],
)
def test_what_only_a_newer_version_knows(
    database_url: str, tmp_path: Path, leave: Callable[[Ledger], int], says: str, complaints: int
) -> None:
    with (
        opened(database_url) as ledger,
        new_service(tmp_path, tmp_path / "data", database_url=database_url) as service,
        Api(service) as api,
    ):
        service.start()
        api.deliver("alice-0-1-1-1-1")
        shown = api.presence("alice")
        position = leave(ledger)
        wait_for(lambda: logged(service, "reconciliation_waits") == complaints)
        assert_refuses_and_reads(api, says)
        assert service.stop().code == 0

        service.spawn()
        wait_for(lambda: logged(service, "listening") == 2, service.log)
        assert_refuses_and_reads(api, says)
        assert logged(service, "start_not_recorded") == 1
        assert shown["as_of"]["position"] < position
        assert api.get("/v1/users/alice/presence", **shown["as_of"]) == shown
        assert "Traceback" not in service.log()

        newer.go_on(ledger)
        service.wait_until_ready()
        wait_for(lambda: api.hook(["bob-0-1-2-1-1"]).status_code == 200)
        assert api.presence("bob")["status"] == "online"
        wait_for(lambda: starts(ledger) == 2)
        wait_for(lambda: logged(service, "leads") == 2)
        assert service.stop().code == 0
        assert "Traceback" not in service.log()
