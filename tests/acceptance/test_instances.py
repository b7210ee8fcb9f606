"""Checks several instances at once: one ledger from two of them, an upgrade that refuses nobody, a plain restart."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.support.load import Load, check_ledger
from tests.support.service import Api, Port, Service, new_service, wait_for

Instance = Callable[..., Service]


@pytest.fixture
def port() -> Iterator[Port]:
    port = Port()
    yield port
    port.release()


@pytest.fixture
def instance(database_url: str, tmp_path: Path) -> Iterator[Instance]:
    """Makes instances on one database, each with a data folder of its own; on a port of its own where none is given."""
    with ExitStack() as stack:

        def make(name: str, port: Port | None = None) -> Service:
            if port is None:
                port = Port()
                stack.callback(port.release)
            service = Service(tmp_path / name, port, tmp_path / name / "data", database_url=database_url)
            stack.callback(service.end)
            return service

        yield make


def test_two_instances_keep_one_ledger(instance: Instance) -> None:
    first, second = instance("first"), instance("second")
    first.spawn()
    second.spawn()
    first.wait_until_ready()
    second.wait_until_ready()
    paths = [(service.port, service.hook_path()) for service in (first, second)]
    with Load(paths, senders=6, pairs=5) as load, Api(first) as api, Api(second) as other:
        load.wait_for(300)
        # What one instance has answered for is at once what the other one says.
        for number in range(1, 20):
            (api, other)[number % 2].deliver(f"crossing-0-1-{number}-{number}-{number}")
            assert (api, other)[(number + 1) % 2].presence("crossing")["version"] == number
    with Api(first) as api, Api(second) as other:
        events = check_ledger(api)
        assert load.broken_promises(events) == []
        assert set(load.outcomes()) == {"acknowledged"}
        assert other.ledger() == events
    assert first.stop().code == 0
    assert second.stop().code == 0


@pytest.mark.parametrize("keep_alive", [False, True], ids=["new connections", "kept connections"])
def test_an_upgrade_refuses_no_webhook(instance: Instance, port: Port, keep_alive: bool) -> None:
    old, new = instance("old", port), instance("new", port)
    old.start()
    with Load([(port.number, old.hook_path())], senders=6, pairs=2, keep_alive=keep_alive) as load:
        load.wait_for(50)
        for _ in range(3):
            new.start()
            ended = old.stop()
            assert ended.code == 0
            load.wait_for(50)
            old, new = new, old
    assert load.outcomes() == {"acknowledged": len(load.posts)}
    with Api(old) as api:
        assert load.broken_promises(check_ledger(api)) == []
    old.stop()


def test_the_older_version_runs_beside_a_schema_one_migration_newer(instance: Instance, database_url: str) -> None:
    old = instance("old").start()
    with Load([(old.port, old.hook_path())]) as load, psycopg.connect(database_url, autocommit=True) as database:
        load.wait_for(20)
        with database.transaction():
            database.execute("ALTER TABLE events ADD COLUMN added_later text")
            database.execute("CREATE TABLE made_later (id bigint PRIMARY KEY)")
            database.execute(
                "INSERT INTO schema_migrations (number, name, sha256)"
                " SELECT max(number) + 1, 'later', 'of a later version' FROM schema_migrations"
            )
        load.wait_for(20)
        # It may even start again alongside it.
        beside = instance("beside").start()
        load.wait_for(20)
    assert set(load.outcomes()) == {"acknowledged"}
    with Api(beside) as api:
        assert load.broken_promises(check_ledger(api)) == []


def test_a_plain_restart_refuses_connections_and_nothing_else(database_url: str, tmp_path: Path) -> None:
    with new_service(tmp_path, tmp_path / "data", database_url=database_url) as service:
        service.start()
        with Load([(service.port, service.hook_path())], keep_alive=False) as load:
            load.wait_for(20)
            assert service.stop().code == 0
            service.start()
            load.wait_for(20)
        assert set(load.outcomes()) <= {"acknowledged", "no connection"}
        with Api(service) as api:
            assert load.broken_promises(check_ledger(api)) == []


@pytest.mark.slow
def test_a_stop_under_load_keeps_what_was_answered(database_url: str, tmp_path: Path) -> None:
    with new_service(tmp_path, tmp_path / "data", database_url=database_url) as service:
        service.start()
        with Load([(service.port, service.hook_path())], senders=8, pairs=100) as load:
            load.wait_for(40)
            assert service.stop().code == 0
        service.start()
        with Api(service) as api:
            events = check_ledger(api)
            assert load.broken_promises(events) == []
            assert [event["kind"] for event in events if event["kind"].startswith("service_")] == [
                "service_started",
                "service_stopped",
                "service_started",
            ]
        assert set(load.outcomes()) <= {"acknowledged", "no connection"}


def test_a_sender_that_never_ends_its_body_prevents_no_stop(database_url: str, tmp_path: Path) -> None:
    with new_service(tmp_path, tmp_path / "data", database_url=database_url) as service:
        service.start()
        connection = service.connection()
        connection.putrequest("POST", service.hook_path())
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b'["')
        with Api(service) as api:
            wait_for(lambda: api.get("/health/ready"))
            ended = service.stop()
        connection.close()
        assert ended.code == 0, ended.log[-2000:]
