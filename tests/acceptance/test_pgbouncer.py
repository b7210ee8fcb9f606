"""The service behind a real PgBouncer in transaction mode, a small pool: all of it works, or is refused in words."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from tests.acceptance.test_lifecycle_refusals import refusal
from tests.support import pg
from tests.support.command import call
from tests.support.im_node import ImNode, im_node
from tests.support.load import Load, check_ledger
from tests.support.pgbouncer import PgBouncer, needs_pgbouncer, pgbouncer
from tests.support.service import Api, new_service, source_table, wait_for
from tests.support.streams import FrontedService, Told, fronted

pytestmark = needs_pgbouncer

SESSIONS = 4
"""What two instances take of the server through the pooler, at most."""

LOOKS_SOON = "[policy]\ntier_normal_seconds = 2\nconfirm_seconds = 0.2\n"

THROUGH_THE_POOLER = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name IN ('presence-ledger', 'presence-ledger reader')
"""


class Ways(NamedTuple):
    """The two URLs of one database."""

    pooler: PgBouncer
    direct: str

    @property
    def pooled(self) -> str:
        return self.pooler.url


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    with (
        pg.new_database(pg.server_url("external"), migrated=False) as direct,
        pgbouncer(tmp_path_factory.mktemp("pgbouncer"), direct, sessions=SESSIONS) as pooler,
    ):
        yield Ways(pooler, direct)


@pytest.fixture(scope="module")
def node() -> Iterator[ImNode]:
    with im_node() as node:
        yield node


@pytest.fixture(scope="module")
def service(ways: Ways, node: ImNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontedService]:
    folder = tmp_path_factory.mktemp("service")
    with fronted(
        folder, folder / "data", database_url=ways.pooled, database_session_url=ways.direct, measured=True,
        store_wait_seconds=1.0, tables=source_table("main", {"n1": node.url}) + LOOKS_SOON,
    ) as service:  # fmt: skip
        yield service.start()


def statuses(told: list[Told]) -> list[tuple[str, str]]:
    return [(each.data["uid"], each.data["status"]) for each in told if each.event == "presence"]


def test_what_comes_in_is_told_at_once(service: FrontedService, api: Api, node: ImNode) -> None:
    assert api.http.put("/v1/lists/friends", json={"uids": ["alice"], "watchers": []}).status_code == 201
    with service.stream("alice") as stream, service.stream(query={"list": "friends"}) as listed:
        assert statuses(stream.until("ready")) == [("alice", "unknown")]
        listed.until("ready")
        api.deliver(node.connect("alice"))
        assert api.presence("alice")["status"] == "online"
        assert statuses(stream.until("presence")) == [("alice", "online")]
        assert statuses(listed.until("presence")) == [("alice", "online")]
        api.http.patch("/v1/lists/friends", json={"add": ["bob"]})
        assert statuses(listed.until("presence")) == [("bob", "unknown")]
    api.wait_for_projections()
    assert api.get("/v1/users/alice/sessions")["items"]
    assert api.get("/v1/users/alice/explain", at=api.presence("alice")["since"])


def test_who_leads_looks_and_corrects(service: FrontedService, api: Api, node: ImNode) -> None:
    api.deliver(node.connect("ghost"))
    with service.stream("ghost") as stream:
        stream.until("ready")
        node.close("ghost")  # whose webhook is lost
        assert statuses(stream.until(lambda told: told.event == "presence" and told.data["status"] == "offline"))
    [corrected] = [event for event in api.events("ghost") if event.get("drift") == "ghost"]
    assert corrected["verdict"] == "corrected"


def test_a_projection_is_rebuilt_beside_the_running_service(service: FrontedService, api: Api) -> None:
    api.wait_for_projections()
    done = call("--config", str(service.config), "rebuild", "current", "sessions", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["items"][0]["different"] == 0
    assert call("--config", str(service.config), "verify").exit_code == 0


def test_while_the_pooler_is_away_webhooks_are_refused_and_come_again(
    service: FrontedService, api: Api, ways: Ways
) -> None:
    with service.stream("again") as stream:
        stream.until("ready")
        ways.pooler.kill()
        assert api.hook(["again-0-1-1-1-1"]).status_code == 503
        assert api.http.get("/v1/users/again/presence").status_code == 503
        ways.pooler.start()
        wait_for(lambda: api.hook(["again-0-1-1-1-1"]).status_code == 200, service.log)
        assert statuses(stream.until("presence")) == [("again", "online")]
    wait_for(lambda: api.http.get("/health/ready").status_code == 200, service.log)


def test_a_backup_is_refused_in_words(service: FrontedService, tmp_path: Path) -> None:
    done = call("--config", str(service.config), "backup", str(tmp_path / "ledger.backup"))
    assert done.exit_code == 1
    assert "database_url is set: that PostgreSQL is not the embedded one." in done.stderr


def test_the_database_for_tools_is_that_of_sessions(service: FrontedService, ways: Ways) -> None:
    assert call("--config", str(service.config), "config", "database-url").stdout.strip() == ways.direct


@pytest.mark.parametrize(
    ("urls", "says"),
    [
        (("pooled", None), "pool_mode = transaction): locks, LISTEN and settings of a session would be lost"),
        (("pooled", "pooled"), "in database_session_url; database_url may then be a pool with pool_mode = transaction"),
    ],
)
def test_without_a_way_for_sessions_a_start_is_refused(
    ways: Ways, tmp_path: Path, urls: tuple[str, str | None], says: str
) -> None:
    first, second = urls
    settings = {"database_session_url": getattr(ways, second)} if second else {}
    with new_service(tmp_path, tmp_path / "data", database_url=getattr(ways, first), **settings) as service:
        assert says in refusal(service)


def test_two_instances_share_the_pool_and_one_takes_over(
    service: FrontedService, api: Api, ways: Ways, node: ImNode, tmp_path: Path
) -> None:
    with new_service(
        tmp_path, tmp_path / "data", database_url=ways.pooled, database_session_url=ways.direct,
        tables=source_table("main", {"n1": node.url}) + LOOKS_SOON,
    ) as second:  # fmt: skip
        second.start()
        paths = [(each.port, each.hook_path()) for each in (service, second)]
        with Load(paths, senders=4, pairs=5) as load, Api(second) as other:
            load.wait_for(40)
            api.deliver("crossing-0-1-1-1-1")
            assert other.presence("crossing")["version"] == 1
        assert set(load.outcomes()) == {"acknowledged"}
        assert load.broken_promises(check_ledger(api)) == []
        with psycopg.connect(ways.direct) as database:
            row = database.execute(THROUGH_THE_POOLER).fetchone()
        assert row is not None
        assert 0 < row[0] <= SESSIONS
        assert service.stop().code == 0
        with Api(second) as other:
            begun = len(other.source_events("run_started"))
            wait_for(lambda: len(other.source_events("run_started")) > begun, second.log)
