"""Questions to a service whose PostgreSQL has fallen silent: it keeps its connections and says nothing."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from ledger.store import postmaster
from tests.support.external import ExternalPostgres
from tests.support.service import Api, Service, new_service, wait_for

QUESTIONS = (
    ("GET", "/v1/users/u/presence"),
    ("GET", "/v1/users/u/presence?at=2026-11-23T08:20:46Z"),
    ("POST", "/v1/presence/query"),
    ("POST", "/v1/reach/query"),
    ("GET", "/v1/presence"),
    ("GET", "/v1/presence/summary"),
    ("GET", "/v1/users/u/events"),
    ("GET", "/v1/users/u/timeline"),
    ("GET", "/v1/users/u/sessions"),
    ("GET", "/v1/users/u/explain"),
    ("GET", "/v1/ledger/events"),
    ("GET", "/v1/sources"),
    ("GET", "/v1/sources/main/runs"),
    ("GET", "/v1/drift"),
    ("GET", "/v1/drift/summary"),
    ("GET", "/v1/loss"),
    ("GET", "/v1/blind"),
)


FROM_MEMORY = (QUESTIONS[0], QUESTIONS[2])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ExternalPostgres]:
    server = ExternalPostgres(tmp_path / "server")
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def silent(server: ExternalPostgres) -> Iterator[None]:
    """While every process of the server stands still."""
    held = list(postmaster.members(server.cluster))
    for process in held:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in held:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


@pytest.mark.slow
def test_each_question_is_answered_503_or_from_memory_and_rightly_once_it_is_back(
    server: ExternalPostgres, tmp_path: Path
) -> None:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE ledger")
    with (
        new_service(
            tmp_path / "service", tmp_path / "data", database_url=server.url("ledger"), stale_seconds=3600.0
        ) as service,
        Api(service.start()) as api,
    ):
        # A key of the database, which is read again each second.
        key = (tmp_path / "data" / "admin.key").read_text().strip()
        api.deliver("u-0-1-1-1-1")
        api.wait_until_remembered()
        assert ask(service, key, "GET", "/v1/users/u/presence") == (200, "application/json")
        with silent(server), ThreadPoolExecutor(len(QUESTIONS)) as threads:
            told = dict(
                zip(QUESTIONS, threads.map(lambda question: ask(service, key, *question), QUESTIONS), strict=True)
            )
            assert told == dict.fromkeys(QUESTIONS, (503, "application/problem+json")) | {
                # Unless they came after the others had found out.
                question: told[question]
                for question in FROM_MEMORY
            }
            for question in FROM_MEMORY:
                assert ask(service, key, *question) == (200, "application/json")
            assert ask(service, key, "GET", "/v1/users/u/presence?at=2026-11-23T08:20:46Z")[0] == 503
            assert api.http.get("/health/live").status_code == 200
            assert api.http.get("/health/ready").status_code == 503
        wait_for(lambda: api.http.get("/v1/users/u/presence").status_code == 200, service.log)
        wait_for(lambda: all(ask(service, key, *question)[0] < 400 for question in QUESTIONS), service.log)
        assert api.presence("u")["status"] == "online"
        api.deliver("u-0-0-1-0-0")
        assert api.presence("u")["status"] == "offline"
        assert '"defect"' not in service.log()


def ask(service: Service, key: str, method: str, path: str) -> tuple[int, str]:
    with Api(service, key) as asker:
        body = {"uids": ["u"]} if path.endswith("query") else None
        answer = asker.http.request(method, path, json=body)
        return answer.status_code, answer.headers.get("content-type", "")
