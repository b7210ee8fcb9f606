"""A user who is erased, on a running service with Redis, a receiver and streams; and who asked about whom."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bench._receiver import SECRET, Receiver, receiving
from ledger.working_state import instance_figures
from tests.support.dumping import tables_naming
from tests.support.ledgers import lock_held
from tests.support.redis_server import RedisServer, needs_redis, redis_server
from tests.support.service import KEYS, MAIN, Api, Service, wait_for
from tests.support.streams import FrontedService

pytestmark = needs_redis

SETTINGS = """
[audit]
reads = true
[[sinks]]
name = "app"
kind = "webhook"
url = "{app}"
secret = "{secret}"
coalesce_seconds = 0
[[sinks]]
name = "hot"
kind = "redis"
url = "{redis}"
prefix = "p:"
coalesce_seconds = 0
"""

REASON = {"reason": "their request, ticket 4711"}


@pytest.fixture(scope="module")
def app() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def service_settings(app: Receiver, redis: RedisServer) -> dict[str, Any]:
    return {"tables": MAIN + SETTINGS.format(app=app.url, redis=redis.url, secret=SECRET), "spool_bytes": 1_048_576}


@pytest.fixture(scope="module")
def service(fronted_service: FrontedService) -> FrontedService:
    return fronted_service


def erase(api: Api, uid: str) -> Any:
    answer = api.http.post(f"/v1/users/{uid}/erase", json=REASON)
    assert answer.status_code == 200, answer.text
    return answer.json()


def complete(api: Api, uid: str) -> Any:
    return wait_for(lambda: (found := erase(api, uid))["complete"] and found, lambda: erase(api, uid))


def in_redis(redis: RedisServer, uid: str) -> list[str]:
    """Where a Redis names a user."""
    found = [key for key in redis.client.scan_iter("*") if uid in key]
    for key in redis.client.scan_iter("p:*", _type="string"):
        found += [key] if uid in (redis.client.get(key) or "") else []
    return found + [number for number, entry in redis.client.xrange("p:changes") if uid in json.dumps(entry)]


def test_nothing_has_a_byte_of_them(
    api: Api, service: FrontedService, app: Receiver, redis: RedisServer, module_database_url: str
) -> None:
    uid, other = "forgotten7", "stays7"
    api.deliver(f"{uid}-0-1-1-1-1", f"{other}-0-1-2-1-1", f"{uid}-x")
    api.hook(f'{{"no array": "{uid}"}}'.encode())
    api.http.put("/v1/lists/friends", json={"uids": [uid, other], "watchers": [uid]}).raise_for_status()
    api.http.put(f"/v1/users/{uid}/tier", json={"tier": "vip"}).raise_for_status()
    api.wait_for_projections()
    wait_for(lambda: redis.client.get(f"p:presence:{uid}"), service.log)
    wait_for(lambda: uid in app.shown, service.log)
    before = api.presence(uid)["as_of"]
    log_before = len(service.log())
    with (
        service.stream(uid) as named,
        service.stream() as everybody,
        service.stream(query={"list": "friends"}) as listed,
    ):
        for stream in (named, everybody, listed):
            stream.until("ready")
        erased = erase(api, uid)
        assert (erased["events"], erased["by"], erased["erased_before"]) == (2, "admin", False)
        for stream in (named, everybody):
            told = stream.until(lambda each: each.event == "presence" and each.data["uid"] == uid)[-1].data
            assert (told["status"], told["reason"], told["previous"]["status"]) == (
                "unknown",
                "never_observed",
                "online",
            )
        assert listed.until("gone")[-1].data == {"uid": uid}
    assert complete(api, uid)["position"] == erased["position"]
    wait_for(lambda: app.shown[uid]["status"] == "unknown", service.log)
    with closing(psycopg.connect(module_database_url, autocommit=True)) as connection:
        wait_for(lambda: not tables_naming(connection, uid), lambda: tables_naming(connection, uid))
    assert in_redis(redis, uid) == []
    assert uid not in service.log()[log_before:]
    assert json.loads(redis.client.get(f"p:presence:{other}"))["status"] == "online"
    done = service.command("verify", "--json")
    assert (done.returncode, json.loads(done.stdout)["erased"]) == (0, 2), done.stderr
    assert "2 events erased" in service.command("verify").stdout
    # The past is as little known.
    assert api.get(f"/v1/users/{uid}/presence", **before)["reason"] == "never_observed"
    for route in ("events", "timeline", "sessions", "reads"):
        assert api.get(f"/v1/users/{uid}/{route}")["items"] == []
    assert uid not in json.dumps(api.ledger())
    # Of the delivery that named both, the other's item is left, and nothing of those that came after.
    delivery = api.events(other)[0]["delivery"]
    for page in ({}, {"limit": 1}):
        found = api.get(f"/v1/deliveries/{delivery}", **page)
        assert [each.get("uid") for each in found["items"]][:1] == [other]
    assert len(api.get(f"/v1/deliveries/{delivery}")["items"]) == 2
    # Their next webhook makes a new user.
    api.deliver(f"{uid}-0-1-5-1-1")
    presence = api.presence(uid)
    assert (presence["status"], presence["version"]) == ("online", 1)
    assert presence["since"] == presence["cause"]["at"]
    again = erase(api, uid)
    assert (again["events"], again["erased_before"]) == (1, False)
    assert complete(api, uid)["position"] == again["position"]


def test_a_reader_who_was_away_begins_anew(api: Api, service: FrontedService) -> None:
    api.deliver("away7-0-1-21-1-1", "beside7-0-1-22-1-1")
    with service.stream("away7", "beside7") as stream:
        stream.until("ready")
        last = stream.id
    erase(api, "away7")
    with service.stream("away7", "beside7", last=last) as stream:
        told = stream.until("ready")
    assert (told[0].data["recovered"], told[0].data["reason"]) == (False, "epoch")
    shown = {each.data["uid"]: each.data["status"] for each in told if each.event == "presence"}
    assert shown == {"away7": "unknown", "beside7": "online"}


def test_what_is_refused(api: Api, service: Service) -> None:
    head = api.head()
    answer = api.http.post("/v1/users/never7/erase", json=REASON)
    assert answer.status_code == 404
    assert "never seen" in answer.json()["detail"]
    for body in ({}, {"reason": " "}, {"reason": "x", "more": 1}):
        assert api.http.post("/v1/users/never7/erase", json=body).status_code == 422
    with Api(service, KEYS["audit"]) as auditor:
        assert auditor.http.post("/v1/users/never7/erase", json=REASON).status_code == 403
    assert api.head() == head


def test_it_is_a_command(api: Api, service: Service, tmp_path: Path) -> None:
    api.deliver("typed7-0-1-31-1-1")
    done = service.command("erase", "typed7", "--reason", "typed7 asked")
    assert done.returncode == 0, done.stderr
    assert "typed7 is erased" in done.stdout
    assert "1 event removed" in done.stdout
    again = service.command("erase", "typed7", "--reason", "typed7 asked", "--json")
    assert json.loads(again.stdout) | {"complete": True} == json.loads(again.stdout)
    assert json.loads(again.stdout)["reason"] == "[erased] asked"
    assert "was erased already" in service.command("erase", "typed7", "--reason", "x").stdout
    refused = service.command("erase", "never7", "--reason", "x")
    assert (refused.returncode, "never seen" in refused.stderr) == (1, True)
    assert service.command("erase", "typed7").returncode == 2


def refused(api: Api, uid: str) -> str:
    """Why nothing is erased."""
    answer = api.http.post(f"/v1/users/{uid}/erase", json=REASON)
    assert (answer.status_code, answer.headers["Content-Type"]) == (409, "application/problem+json"), answer.text
    detail: str = answer.json()["detail"]
    return detail


def test_while_webhooks_wait_in_the_spool_nothing_is_erased(
    api: Api, service: FrontedService, module_database_url: str
) -> None:
    api.deliver("spooled7-0-1-61-1-1")
    with lock_held(module_database_url):
        api.deliver("spooled7-0-1-62-1-1")
        assert api.ready()["spooling"] is not None
        assert f"wait in the spool of {socket.gethostname()}" in refused(api, "spooled7")
        assert "wait in the spool" in refused(api, "never7")
        done = service.command("erase", "spooled7", "--reason", "x")
        assert (done.returncode, "Try again once it is empty" in done.stderr) == (1, True)
    wait_for(lambda: api.ready()["spooling"] is None, api.ready)
    erased = complete(api, "spooled7")
    assert (erased["events"], erased["spools"]) == (2, [])
    assert api.presence("spooled7")["status"] == "unknown"


def test_webhooks_that_nobody_drains_are_named(api: Api, service: FrontedService, module_database_url: str) -> None:
    api.deliver("beside7-0-1-71-1-1")
    spool = service.data_dir / "spool"
    names = ["a.refused", "b.damaged", "c.foreign", "d.spool"]
    for name in names:
        (spool / name).write_bytes(b"beside7")
    (spool / "e.other").touch()
    now = time.time_ns() // 1000
    here = {"host": socket.gethostname(), "spooled": 2}
    others = {
        # The run before this one, whose files this one has drained; and one that is gone.
        "before": (here | {"folder": str(service.data_dir)}, now),
        "gone": (here | {"folder": "/gone"}, now - 3_600_000_000),
        "back": ({"host": "im-2", "folder": "/data", "spooled": 1}, now),
    }
    with closing(psycopg.connect(module_database_url, autocommit=True)) as connection:
        for name, (figures, at) in others.items():
            instance_figures.write(connection, name, figures, at)
        assert "in the spool of im-2" in refused(api, "beside7")
        instance_figures.write(connection, "back", {"host": "im-2", "folder": "/data", "spooled": 0}, now)
        found = erase(api, "beside7")["spools"]
        assert [each["path"] for each in found] == [*(str(spool / name) for name in names), "/gone/spool"]
        assert {each["host"] for each in found} == {socket.gethostname()}
        assert 3_600 <= found[-1]["age_seconds"] < 7_200
        assert f"in {spool / 'a.refused'} on" in " ".join(
            service.command("erase", "beside7", "--reason", "x").stdout.split()
        )
        connection.execute("DELETE FROM instance_figures WHERE instance = ANY(%s)", (list(others),))
    for name in names:
        (spool / name).unlink()
    assert complete(api, "beside7")["spools"] == []


def test_who_asked_about_whom_is_logged_and_goes_with_the_user(api: Api, service: FrontedService) -> None:
    api.deliver("asked7-0-1-41-1-1")
    with Api(service, KEYS["read"]) as reader:
        for _ in range(3):
            reader.presence("asked7")
        reader.http.post("/v1/presence/query", json={"uids": ["asked7", "nobody7"]}).raise_for_status()
        reader.http.post("/v1/reach/query", json={"uids": ["asked7"]}).raise_for_status()

    def logged() -> Any:
        found: dict[tuple[str, str], int] = {}
        for each in api.get("/v1/users/asked7/reads")["items"]:
            place = each["key"], each["route"]
            found[place] = found.get(place, 0) + each["number"]
        return found

    wanted = {
        ("read", "/v1/users/{uid}/presence"): 3,
        ("read", "/v1/presence/query"): 1,
        ("read", "/v1/reach/query"): 1,
    }
    wait_for(lambda: wanted.items() <= logged().items(), logged)
    wait_for(lambda: ("admin", "/v1/users/{uid}/reads") in logged(), logged)
    assert api.get("/v1/users/nobody7/reads")["items"] == []
    page = api.get("/v1/users/asked7/reads", limit=1)
    second = api.get("/v1/users/asked7/reads", limit=1, after=page["next"])
    assert page["items"] != second["items"]
    assert api.http.get("/v1/users/asked7/reads", params={"after": "x"}).status_code == 422
    assert "asked7" not in json.dumps(api.get("/v1/users/asked7/reads", to="2020-01-01T00:00:00Z"))
    assert "/v1/presence/query" in service.command("reads", "asked7").stdout
    erase(api, "asked7")
    assert api.get("/v1/users/asked7/reads")["items"] == []
    assert "nobody" in service.command("reads", "asked7").stderr


def test_what_a_crash_left_to_be_done_is_done(api: Api, service: FrontedService, module_database_url: str) -> None:
    api.deliver("crashed7-0-1-51-1-1")
    api.http.post("/v1/sinks/app/pause").raise_for_status()
    erased = erase(api, "crashed7")
    assert (erased["complete"], "app" in erased["waiting"]) == (False, True)
    service.kill()
    service.start()
    again = erase(api, "crashed7")
    assert (again["position"], again["erased_before"], again["complete"]) == (erased["position"], True, False)
    api.http.post("/v1/sinks/app/resume").raise_for_status()
    with closing(psycopg.connect(module_database_url, autocommit=True)) as connection:
        with connection.transaction():
            # Of a table that somebody else has, the space is reused later.
            connection.execute("LOCK TABLE untold IN SHARE UPDATE EXCLUSIVE MODE")
            assert complete(api, "crashed7")["position"] == erased["position"]
            service.kill()
        assert tables_naming(connection, "crashed7") == set()
        left = "SELECT count(*) FROM erasures WHERE under_way IS NOT NULL"
        assert connection.execute(left).fetchone() != (0,)
        service.start()
        wait_for(lambda: connection.execute(left).fetchone() == (0,), service.log)
        row = connection.execute("SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = 'untold'").fetchone()
        assert row is not None
        assert row[0] > 0
