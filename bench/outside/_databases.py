"""A PostgreSQL that the cases about databases share, and services and commands on databases of it."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from bench import _service
from bench._postgres import embedded
from bench._service import Service
from bench.outside import _product
from bench.outside._cases import scratch
from bench.outside._product import ask, command, hook, until, until_exit
from ledger.store import postmaster

WAIT_SECONDS = 0.5
"""What a webhook waits for the store."""

_names = (f"outside_{os.getpid()}_{number}" for number in count(1))


class Cluster:
    """A PostgreSQL that the cases share, with databases to use up."""

    def __init__(self, folder: Path) -> None:
        self.postgres = embedded(folder)
        self.url = self.postgres.start()

    def execute(self, statement: str, *names: str, database: str = "postgres") -> None:
        with psycopg.connect(self.of(database), autocommit=True, client_encoding="UTF8") as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def of(self, database: str) -> str:
        found = conninfo_to_dict(self.url)
        return f"postgresql://{found['user']}:{found['password']}@/{database}?host={quote(str(found['host']), safe='')}"

    @contextmanager
    def database(self, extra: str = "", settings: Mapping[str, str] | None = None) -> Iterator[str]:
        """The name of an empty one, with settings for its sessions."""
        name = next(_names)
        self.execute(f"CREATE DATABASE {{}} TEMPLATE template0 {extra}", name)
        try:
            for setting, value in (settings or {}).items():
                self.execute(f"ALTER DATABASE {{}} SET {{}} = '{value}'", name, setting)
            yield name
        finally:
            with suppress(psycopg.Error):
                self.execute("DROP DATABASE {} WITH (FORCE)", name)

    def end_sessions(self, name: str, application: str = "%") -> None:
        """As an administrator ends them."""
        with psycopg.connect(self.of("postgres"), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND application_name LIKE %s AND pid <> pg_backend_pid()",
                (name, application),
            )


@cache
def cluster() -> Cluster:
    """Started for the first case that wants it, ended with the process."""
    return until_exit(_cluster())


@contextmanager
def _cluster() -> Iterator[Cluster]:
    with scratch() as folder:
        found = Cluster(folder / "data")
        try:
            yield found
        finally:
            found.postgres.stop("immediate")


def run(folder: Path, *arguments: str, url: str) -> tuple[int, str]:
    """A command of the product on a database -> its exit code, and all that it wrote."""
    settings = {"PRESENCE_LEDGER_DATABASE_URL": url, "PRESENCE_LEDGER_DATA_DIR": str(folder / "data")}
    done = command(folder, *arguments, **settings)
    return done.code, done.said


def refused(folder: Path, url: str, *says: str) -> str:
    """`migrate` refuses a database, in one or two lines that say so, and writes nothing -> the first line."""
    code, said = run(folder, "migrate", url=url)
    lines = said.strip().splitlines()
    assert code == 1, f"exit {code}: {said}"
    assert 1 <= len(lines) <= 2, said
    for each in says:
        assert each in said, f"{each!r} is not in {said!r}"
    return lines[0].removeprefix("presence-ledger: ")


def post(service: Service, item: str, node: int = 0) -> tuple[int, float]:
    """-> the status of a webhook's answer, and the seconds that it took."""
    answer = _product.post(service, item, path=hook(node=f"n{node + 1}"))
    return answer.status, answer.seconds


def ready(service: Service) -> tuple[int, dict[str, Any]]:
    """-> the status and the body of readiness."""
    answer = ask(service, "GET", "/health/ready")
    return answer.status, json.loads(answer.body)


def seconds_until(what: str, done: Callable[[], bool]) -> float:
    """Wait for it -> the seconds that it took. Raises AssertionError."""
    began = time.monotonic()
    until(done, what)
    return time.monotonic() - began


@contextmanager
def served(folder: Path, database: str, *command: str, **variables: str) -> Iterator[Service]:
    """A service that is ready, on a database of the cluster."""
    variables = {"PRESENCE_LEDGER_STORE_WAIT_SECONDS": str(WAIT_SECONDS)} | variables
    url = cluster().of(database)
    with _service.running(folder / "service", url, command or _service.PRODUCT, **variables) as service:
        until(lambda: ready(service)[0] == 200, "ready")
        yield service


@contextmanager
def halted() -> Iterator[None]:
    """While no process of PostgreSQL goes on, and all its connections stand."""
    processes = list(postmaster.members(cluster().postgres.cluster))
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()
