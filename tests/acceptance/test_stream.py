"""The stream: a snapshot, every change, cursors that hold over restarts, bounds, and how it ends."""

import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil
import psycopg
import pytest

from tests.support.external import ExternalPostgres
from tests.support.service import KEYS, Api, wait_for
from tests.support.streams import FrontedService, Told, fronted


@pytest.fixture(scope="module")
def service_settings() -> dict[str, Any]:
    return {"front_connections": 3, "front_origins": ["https://app.example"]}


@pytest.fixture(scope="module")
def service(fronted_service: FrontedService) -> FrontedService:
    return fronted_service


def statuses(told: list[Told]) -> list[tuple[str, str]]:
    return [(each.data["uid"], each.data["status"]) for each in told if each.event == "presence"]


def test_a_snapshot_comes_first_and_then_each_change(service: FrontedService, api: Api) -> None:
    api.deliver("first-0-1-1-1-1")
    with service.stream("first", "second") as stream:
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert stream.response.headers["cache-control"] == "no-store"
        told = stream.until("ready")
        assert [each.event for each in told] == ["resumed", "presence", "presence", "ready"]
        assert (told[0].data["recovered"], told[0].data["reason"]) == (False, "fresh")
        assert statuses(told) == [("first", "online"), ("second", "unknown")]
        assert stream.retry is not None
        api.deliver("first-0-0-1-0-0", "stranger-0-1-2-1-1")
        change = stream.until("presence")[-1]
        assert (change.data["uid"], change.data["status"]) == ("first", "offline")
        assert change.data["previous"] == {"status": "online", "since": told[1].data["since"]}
        answered = api.presence("first")
        same = {name: value for name, value in change.data.items() if name not in ("as_of", "previous")}
        assert same == {name: value for name, value in answered.items() if name != "as_of"}
        assert change.data["as_of"]["epoch"] == told[0].data["as_of"]["epoch"]


def test_what_is_no_change_is_not_told(service: FrontedService, api: Api) -> None:
    api.deliver("same-0-1-5-1-1")
    with service.stream("same") as stream:
        stream.until("ready")
        api.deliver("same-0-1-5-1-1")
        api.deliver("same-0-0-5-0-0")
        assert statuses(stream.until("presence")) == [("same", "offline")]


def test_a_cursor_brings_what_was_missed(service: FrontedService, api: Api) -> None:
    api.deliver("missed-0-1-11-1-1", "kept-0-1-12-1-1")
    with service.stream("missed", "kept") as stream:
        last = stream.until("ready")[-1].id
    api.deliver("missed-0-0-11-0-0")
    with service.stream("missed", "kept", last=last) as stream:
        told = stream.until("ready")
        assert (told[0].data["recovered"], told[0].data["reason"]) == (True, None)
        assert statuses(told) == [("missed", "offline")]
        assert told[1].data["previous"]["status"] == "online"
    with service.stream(query={"last_event_id": told[-1].id}) as stream:
        assert [each.event for each in stream.until("ready")] == ["resumed", "ready"]


def test_everybody_is_told_of_to_those_who_name_nobody(service: FrontedService, api: Api) -> None:
    with service.stream() as stream:
        assert [each.event for each in stream.until("ready")] == ["resumed", "ready"]
        api.deliver("anybody-0-1-21-1-1")
        told = stream.until(lambda each: each.event == "presence" and each.data["uid"] == "anybody")
        assert told[-1].data["previous"] == {"status": "unknown", "since": None}
    with service.stream(query={"snapshot": "true"}) as stream:
        assert ("anybody", "online") in statuses(stream.until("ready"))


def test_many_are_named_in_a_body(service: FrontedService) -> None:
    uids = [f"many-{number}" for number in range(3_000)]
    with service.stream(body=uids) as stream:
        assert statuses(stream.until("ready")) == [(uid, "unknown") for uid in sorted(uids)]


@pytest.mark.parametrize("last", ["garbage", "0-0.1.1", "é", "x" * 5_000])
def test_a_cursor_that_is_none_of_ours_begins_anew(service: FrontedService, last: str) -> None:
    with service.stream("whoever", query={"last_event_id": last}) as stream:
        told = stream.until("ready")
        assert (told[0].data["recovered"], told[0].data["reason"]) == (False, "epoch")
        assert statuses(told) == [("whoever", "unknown")]


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ({"snapshot": "yes"}, 422, "snapshot"),
        ({"user": "u1"}, 422, "user"),
        ({"uid": ""}, 422, "uid.0"),
        ({"uid": "\0"}, 422, "uid.0"),
        ({"uid": "x" * 1_025}, 422, "uid.0"),
    ],
)
def test_what_is_asked_wrongly(service: FrontedService, query: dict[str, str], status: int, field: str) -> None:
    with service.stream(query=query) as stream:
        problem = httpx2.Response(200, content=stream.response.read()).json()
        assert (stream.response.status_code, problem["errors"][0]["field"]) == (status, field)
        assert stream.response.headers["content-type"] == "application/problem+json"


def test_more_users_than_the_bounds(service: FrontedService) -> None:
    with service.stream(*[f"u{number}" for number in range(1_001)]) as stream:
        assert stream.response.status_code == 422
    with service.stream(body=[f"u{number}" for number in range(10_001)]) as stream:
        assert stream.response.status_code == 422


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("unknown-key", 401)])
def test_nobody_reads_without_a_key(service: FrontedService, key: str | None, status: int) -> None:
    with service.stream("u1", key=key) as stream:
        assert stream.response.status_code == status
    with service.stream("u1", key=None, query={"token": KEYS["read"]}) as stream:
        assert stream.response.status_code == 401


def test_more_streams_than_there_may_be(service: FrontedService, api: Api) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(service.stream("u1")).until("ready")
        refused = stack.enter_context(service.stream("u1"))
        assert refused.response.status_code == 503
        assert int(refused.response.headers["retry-after"]) > 0
        # Any status but 200 is the end of a browser's tries.
        told = stack.enter_context(service.stream("u1", headers={"Origin": "https://app.example"}))
        assert told.response.status_code == 200
        assert (told.rest(), told.retry) == ([], 30_000)
    with service.stream("u1") as stream:
        stream.until("ready")


def test_a_revoked_key_ends_its_streams(service: FrontedService, api: Api) -> None:
    made = service.command("keys", "create", "short-lived", "--scope", "read", "--json")
    key = httpx2.Response(200, content=made.stdout).json()["key"]

    def opens() -> bool:
        with service.stream("u1", key=key) as stream:
            return stream.response.status_code == 200

    # A key that another process made is known within a second.
    wait_for(opens)
    with service.stream("u1", key=key) as stream:
        stream.until("ready")
        service.command("keys", "revoke", "short-lived")
        stream.rest()


def test_the_other_routes_are_the_services(service: FrontedService, api: Api) -> None:
    api.deliver("proxied-0-1-31-1-1")
    with Api(service) as front:
        front.http.base_url = httpx2.URL(service.front)
        assert front.presence("proxied")["status"] == "online"
        assert front.http.post("/v1/presence/query", json={"uids": ["proxied"]}).json()["items"][0]["uid"] == "proxied"
        answer = front.http.get("/v1/users/proxied/presence", headers={"Origin": "https://app.example"})
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        etag = answer.headers["etag"]
        assert front.http.get("/v1/users/proxied/presence", headers={"If-None-Match": etag}).status_code == 304
        other = front.http.get("/health/live", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        assert front.http.options("/v1/stream", headers={"Origin": "https://app.example"}).status_code == 204
        assert front.http.post(service.hook_path(), content=b"[]").status_code == 404
        assert front.http.get("/v1/ws").status_code == 426
        assert front.http.delete("/v1/stream").status_code == 405
        assert "presence_ledger_streams 0.0" in front.http.get("/metrics").text
        many = [f"of a long name {number}" for number in range(5_000)]
        assert len(front.http.post("/v1/presence/query", json={"uids": many}).json()["items"]) == len(many)
        asked = f"GET /v1/users/张三/presence HTTP/1.1\r\nHost: x\r\n{_authorization(front)}\r\n\r\n"
        with socket.create_connection((front.http.base_url.host, front.http.base_url.port or 80), 60) as raw:
            raw.sendall(asked.encode())
            assert raw.makefile("rb").readline().split()[1] == b"200"
        front.http.headers["Authorization"] = "Bearer nobody"
        assert front.http.get("/v1/users/proxied/presence").status_code == 401


def _authorization(api: Api) -> str:
    return f"Authorization: {api.http.headers['Authorization']}"


def test_a_cursor_holds_over_a_restart_and_the_front_ends_with_its_parent(
    tmp_path_factory: pytest.TempPathFactory, database_url: str
) -> None:
    folder = tmp_path_factory.mktemp("restarted")
    with fronted(folder, folder / "data", database_url=database_url) as service:
        service.start()
        with Api(service) as api:
            api.deliver("u-0-1-1-1-1")
            with service.stream("u") as stream:
                last = stream.until("ready")[-1].id
                front = service.front_process()
                service.kill()
                wait_for(lambda: not _runs(front))
            service.start()
            api.deliver("u-0-0-1-0-0")
            with service.stream("u", last=last) as stream:
                told = stream.until("ready")
                assert told[0].data["recovered"] is True
                assert statuses(told) == [("u", "offline")]
                service.terminate()
                stream.rest()
                assert stream.retry is not None
            assert service.wait().code == 0


def test_streams_outlive_a_killed_postgresql_and_a_killed_front_is_there_again(tmp_path: Path) -> None:
    database = ExternalPostgres(tmp_path / "postgres")
    with ExitStack() as stack:
        stack.callback(database.kill)
        with psycopg.connect(database.start(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE ledger")
        service = stack.enter_context(fronted(tmp_path, tmp_path / "data", database_url=database.url("ledger")))
        service.start()
        with Api(service) as api:
            api.deliver("u-0-1-1-1-1")
            with service.stream("u") as stream:
                stream.until("ready")
                database.kill()
                with service.stream("u") as refused:
                    assert refused.response.status_code == 503
                database.start()
                wait_for(lambda: api.hook(["u-0-0-1-0-0"]).status_code == 200)
                assert statuses(stream.until("presence")) == [("u", "offline")]
                service.front_process().kill()
                with suppress(httpx2.TransportError):
                    stream.rest()
            api.deliver("u-0-1-2-1-1")
            service.wait_until_ready()
            with service.stream("u", last=stream.id) as again:
                told = again.until("ready")
                assert told[0].data["recovered"] is True, (told, stream.id)
                assert statuses(told) == [("u", "online")]


def test_a_port_of_another_program_is_told_of(tmp_path: Path, database_url: str) -> None:
    with fronted(tmp_path, tmp_path / "data", database_url=database_url) as service, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        service.reconfigure(front_listen=f"127.0.0.1:{other.getsockname()[1]}")
        service.spawn()
        assert service.wait().code == 1
        assert "front_listen" in service.log()


def test_a_reader_who_leaves_amid_a_snapshot_is_gone(service: FrontedService, api: Api) -> None:
    uids = [f"left-{number}" for number in range(9_000)]
    with service.stream(body=uids) as stream:
        stream.until("presence")
    wait_for(lambda: "presence_ledger_streams 0.0" in service.figures())


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
