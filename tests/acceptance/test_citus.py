"""The service on a ledger that is spread over the workers of a real Citus cluster (`pytest --citus URL`)."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.support import citus as cluster
from tests.support.command import call
from tests.support.service import Api, Service, new_service

PLACEMENTS = """
SELECT table_name::text, count(DISTINCT nodeport) FROM citus_shards
 WHERE table_name = ANY(ARRAY['events', 'sessions']::regclass[]) GROUP BY 1 ORDER BY 1
"""

SHARDS = "SELECT shard_name FROM citus_shards WHERE table_name = 'events'::regclass LIMIT 1"


@pytest.fixture(scope="module")
def ledger_url(citus: str) -> Iterator[str]:
    with cluster.new_ledger(citus) as url:
        yield url


@pytest.fixture(scope="module")
def service(ledger_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    with new_service(folder, folder / "data", database_url=ledger_url) as service:
        yield service.start()


@pytest.fixture
def connection(ledger_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        yield connection


def test_to_distribute_it_again_changes_nothing(ledger_url: str) -> None:
    again = call("migrate", "--distribute", DATABASE_URL=ledger_url)
    assert (again.exit_code, "is distributed already" in again.output) == (0, True), again.output


def test_events_and_what_is_made_of_them_are_on_each_worker(connection: psycopg.Connection) -> None:
    placed = connection.execute(PLACEMENTS).fetchall()
    assert [table for table, _ in placed] == ["events", "sessions"]
    assert all(workers >= 1 for _, workers in placed)


def test_what_comes_in_is_shown_told_and_followed(api: Api, service: Service) -> None:
    api.deliver("alice-0-1-11-1-1", "bob-0-1-12-1-1")
    api.deliver("alice-0-0-11-0-0")
    assert (api.presence("alice")["status"], api.presence("bob")["status"]) == ("offline", "online")
    assert [event["verdict"] for event in api.events("alice")] == ["opened", "closed"]
    api.wait_for_projections()
    [session] = api.get("/v1/users/alice/sessions")["items"]
    assert session["ended"] is not None, session
    assert len(api.get("/v1/users/alice/timeline")["items"]) == 2


def test_a_rebuilt_projection_is_spread_as_before(api: Api, service: Service, connection: psycopg.Connection) -> None:
    api.deliver("carol-0-1-21-1-1")
    api.wait_for_projections()
    rebuilt = service.command("rebuild", "sessions")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert [table for table, _ in connection.execute(PLACEMENTS).fetchall()] == ["events", "sessions"]
    assert len(api.get("/v1/users/carol/sessions")["items"]) == 1


def test_whom_an_erasure_names_is_gone_and_it_verifies(api: Api, service: Service) -> None:
    api.deliver("dave-0-1-31-1-1", "erin-0-1-32-1-1")
    erased = api.http.post("/v1/users/dave/erase", json={"reason": "asked for it"})
    assert erased.status_code == 200, erased.text
    assert api.events("erin") != []
    assert api.http.get("/v1/users/dave/events").json()["items"] == []
    verified = service.command("verify")
    assert (verified.returncode, "intact" in verified.stdout) == (0, True), verified.stderr


def test_the_archive_is_refused_in_words(service: Service) -> None:
    refused = call("--config", str(service.config), "archive", RETENTION_EVENTS_DAYS="1")
    assert refused.exit_code == 1
    assert "A ledger on a Citus cluster is not archived" in refused.stderr
