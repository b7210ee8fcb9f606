"""Checks what survives: the service killed, the embedded PostgreSQL killed, a PostgreSQL of the operator's stopped."""

import random
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from ledger.store import postmaster
from tests.support import pg
from tests.support.alongside import group_of
from tests.support.external import ExternalPostgres
from tests.support.load import Load, check_ledger
from tests.support.service import Api, Service, new_service, wait_for

KILLS = 5


@pytest.fixture
def embedded(data_dir: Path, tmp_path: Path) -> Iterator[Service]:
    """A service on its own embedded PostgreSQL."""
    pg.make_data_dir(data_dir)
    with new_service(tmp_path, data_dir) as service:
        yield service.start()


def check(service: Service, *loads: Load) -> None:
    """The ledger is whole and keeps every promise."""
    with Api(service) as api:
        events = check_ledger(api)
        for load in loads:
            assert load.number("acknowledged") > 0
            assert load.broken_promises(events) == []


@pytest.mark.slow
def test_kill_at_any_instant_loses_nothing_answered(embedded: Service) -> None:
    loads, choice = [], random.Random(1)
    for number in range(KILLS):
        load = Load([(embedded.port, embedded.hook_path())], pairs=50, think=0.005, name=f"kill-{number}")
        with load:
            # Bounded by what was answered, so that an instant means the same on any machine.
            load.wait_for(choice.randint(1, 60))
            embedded.kill()
            load.wait_for(1, "no connection")
        loads.append(load)
        embedded.start()
        check(embedded, *loads)
    assert embedded.stop().code == 0


def processes(service: Service) -> list[psutil.Process]:
    """The processes of its embedded PostgreSQL, the postmaster first."""
    cluster = service.data_dir.resolve() / "postgres"
    first = postmaster.find(cluster)
    assert first is not None
    return [first.process, *(each for each in postmaster.members(cluster) if each.pid != first.process.pid)]


def only_the_first(service: Service) -> list[psutil.Process]:
    return processes(service)[:1]


def one_backend(service: Service) -> list[psutil.Process]:
    return processes(service)[-1:]


@pytest.mark.parametrize("victims", [processes, only_the_first, one_backend])
def test_the_embedded_postgresql_killed_is_started_again(
    embedded: Service, victims: Callable[[Service], list[psutil.Process]]
) -> None:
    with Load([(embedded.port, embedded.hook_path())], pairs=20) as load:
        load.wait_for(20)
        for process in victims(embedded):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        load.wait_for(40)
    assert embedded.process.poll() is None
    assert set(load.outcomes()) <= {"acknowledged", "refused"}
    assert {post.status for post in load.posts} <= {200, 503}
    embedded.wait_until_ready()
    check(embedded, load)
    ended = embedded.stop()
    assert ended.code == 0
    assert "Traceback" not in ended.log


def test_all_processes_ended_at_once_are_a_stop_in_order(embedded: Service) -> None:
    """As at a shutdown: the embedded PostgreSQL's, too. Nothing is started again, nothing answered is lost."""
    with Load([(embedded.port, embedded.hook_path())], pairs=20) as load:
        load.wait_for(20)
        before = len(embedded.log())
        group = group_of(embedded.process.pid)
        assert len(group) > len(processes(embedded)) > 1
        for process in reversed(group):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        ended = embedded.wait()
    said = ended.log[before:]
    assert ended.code == 0
    for started in ("process_started", "starting_postgresql", "postgresql_started", "process_ended", "Traceback"):
        assert started not in said, said
    assert '"level": "error"' not in said, said
    assert list(postmaster.members(embedded.data_dir.resolve() / "postgres")) == []
    embedded.start()
    check(embedded, load)


def test_a_stop_while_the_embedded_postgresql_starts_leaves_none_of_it(data_dir: Path, tmp_path: Path) -> None:
    with new_service(tmp_path, data_dir) as service:
        service.spawn()
        wait_for(lambda: (data_dir / "postgres.new").exists() or (data_dir / "postgres").exists())
        ended = service.stop()
        assert (ended.code, "Traceback" in ended.log) == (0, False), ended.log
        assert list(postmaster.members(data_dir.resolve() / "postgres")) == []
        service.start()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["immediate", "fast", "kill"])
def test_a_postgresql_that_stops_for_a_while_costs_nothing_answered(
    external: ExternalPostgres, tmp_path: Path, way: str
) -> None:
    url = external.url("ledger")
    with new_service(tmp_path, tmp_path / "data", database_url=url, store_wait_seconds=1.0) as service:
        service.start()
        with Load([(service.port, service.hook_path())], pairs=20) as load, Api(service) as api:
            load.wait_for(20)
            if way == "kill":
                external.kill()
            else:
                external.stop(way)
            load.wait_for(4, "refused")
            refused = api.http.get("/health/ready")
            assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
            assert api.http.get("/health/live").status_code == 200
            for path in ("/v1/users/u/presence", "/v1/users/u/events", "/v1/ledger/events", "/v1/presence/summary"):
                answer = api.http.get(path)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), path
            external.start()
            load.wait_for(40)
            wait_for(lambda: api.http.get("/health/ready").status_code == 200)
            nodes = api.get("/v1/sources")["items"][0]["nodes"]
            assert nodes[0]["since_start"]["refused_store_unavailable"] >= 4
        assert {post.status for post in load.posts} == {200, 503}
        check(service, load)
        ended = service.stop()
        assert ended.code == 0
        assert "Traceback" not in ended.log


@pytest.mark.slow
def test_a_stop_while_postgresql_is_away_ends_in_time(external: ExternalPostgres, tmp_path: Path) -> None:
    with new_service(
        tmp_path, tmp_path / "data", database_url=external.url("ledger"), store_wait_seconds=1.0
    ) as service:
        service.start()
        with Load([(service.port, service.hook_path())], pairs=20) as load:
            load.wait_for(5)
            external.stop("immediate")
            load.wait_for(1, "refused")
            service.terminate()
            assert service.wait().code == 0
        external.start()
        service.start()
        check(service, load)
