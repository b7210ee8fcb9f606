"""PostgreSQL as people run it: settings of every session, missing rights, commits that fail, poolers, clocks."""

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from bench import _service
from bench._pooler import pooled
from bench._service import REPOSITORY, Service
from bench.outside._cases import Chapter, Trial
from ledger.store import postmaster
from ledger.store.embedded import EmbeddedPostgres

CHAPTER = Chapter()

WAIT_SECONDS = 0.5
ENOUGH_SECONDS = 20.0
"""For what must not hang; a busy machine is slow."""

HOSTILE: Mapping[str, str] = {
    "client_encoding": "LATIN1",
    "DateStyle": "German",
    "IntervalStyle": "iso_8601",
    "TimeZone": "Asia/Shanghai",
    "default_transaction_isolation": "serializable",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "lock_timeout": "1",
    "statement_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
    "synchronous_commit": "off",
    "search_path": "",
}

_names = (f"outside_{os.getpid()}_{number}" for number in count(1))


class Cluster:
    """A PostgreSQL that the cases share, with databases to use up."""

    def __init__(self, folder: Path) -> None:
        self.postgres = EmbeddedPostgres(folder)
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
    folder = Path(tempfile.mkdtemp(prefix="pl-outside-pg-"))
    folder.chmod(0o755)
    found = Cluster(folder / "data")

    def end() -> None:
        found.postgres.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return found


def run(folder: Path, *command: str, url: str, **variables: str) -> tuple[int, str]:
    """A command of the product on a database -> its exit code, and all that it wrote."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PRESENCE_LEDGER_", "PG"))}
    environment |= {
        "PYTHONPATH": str(REPOSITORY),
        "PRESENCE_LEDGER_DATABASE_URL": url,
        "PRESENCE_LEDGER_DATA_DIR": str(folder / "data"),
        **variables,
    }
    done = subprocess.run(
        [sys.executable, "-m", "ledger", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def refused(folder: Path, url: str, *says: str) -> str:
    """`migrate` refuses a database, in one or two lines that say so, and writes nothing -> the first line."""
    code, said = run(folder, "migrate", url=url)
    lines = said.strip().splitlines()
    assert code == 1, f"exit {code}: {said}"
    assert 1 <= len(lines) <= 2, said
    for each in says:
        assert each in said, f"{each!r} is not in {said!r}"
    return lines[0].removeprefix("presence-ledger: ")


def post(service: Service, body: bytes, node: int = 0) -> tuple[int, float]:
    """-> the status of a webhook's answer, and the seconds that it took."""
    began = time.monotonic()
    path = f"/hooks/main/n{node + 1}/{_service.SECRET}?event=user.onlinestatus"
    return _exchange(service, "POST", path, body)[0], time.monotonic() - began


def ready(service: Service) -> tuple[int, dict[str, Any]]:
    """-> the status and the body of readiness."""
    status, body = _exchange(service, "GET", "/health/ready")
    return status, json.loads(body)


def _exchange(service: Service, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", service.port, timeout=ENOUGH_SECONDS)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {_service.KEY}"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def until(what: str, done: Callable[[], bool]) -> float:
    """Wait for it -> the seconds that it took. Raises AssertionError."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() < began + ENOUGH_SECONDS, f"not in {ENOUGH_SECONDS:g} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


def log_of(service: Service) -> str:
    return (service.folder / "service.log").read_text(encoding="utf-8", errors="replace")


@contextmanager
def served(folder: Path, database: str, *command: str, **variables: str) -> Iterator[Service]:
    """A service that is ready, on a database of the cluster."""
    variables = {"PRESENCE_LEDGER_STORE_WAIT_SECONDS": str(WAIT_SECONDS)} | variables
    url = cluster().of(database)
    with _service.running(folder / "service", url, command or _service.PRODUCT, **variables) as service:
        until("ready", lambda: ready(service)[0] == 200)
        yield service


@contextmanager
def _halted() -> Iterator[None]:
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


def _refuses_in_time(service: Service, number: int) -> float:
    status, seconds = post(service, f'["no-0-1-{number}-1-1"]'.encode())
    assert status == 503, f"answered {status}"
    return seconds


@CHAPTER.case(
    "4a", "503 in time, counted, not ready, and back by itself: a database set read-only, then a table locked"
)
def a_commit_that_fails(trial: Trial) -> str:
    with cluster().database() as name, served(trial.folder, name) as service:
        assert post(service, b'["u-0-1-1-1-1"]')[0] == 200
        cluster().execute("ALTER DATABASE {} SET default_transaction_read_only = on", name)
        cluster().end_sessions(name)
        longest = max(_refuses_in_time(service, number) for number in range(1, trial.pick(12, 4)))
        until("not ready", lambda: ready(service)[0] == 503 and "read-only" in ready(service)[1]["detail"])
        cluster().execute("ALTER DATABASE {} RESET default_transaction_read_only", name)
        cluster().end_sessions(name)
        back = until("ready again, without a webhook", lambda: ready(service)[0] == 200)
        assert post(service, b'["u-0-1-2-1-1"]')[0] == 200
        with psycopg.connect(cluster().of(name)) as other:
            other.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
            longest = max(longest, *(_refuses_in_time(service, number) for number in range(20, 22)))
        until("taken again", lambda: post(service, b'["u-0-1-3-1-1"]')[0] == 200)
        if not trial.short:
            with _halted():
                longest = max(longest, *(_refuses_in_time(service, number) for number in range(30, 33)))
            until("taken again", lambda: post(service, b'["u-0-1-4-1-1"]')[0] == 200)
        metrics = _exchange(service, "GET", "/metrics")[1].decode()
        counted = [
            line for line in metrics.splitlines() if 'refused_total{node="n1",reason="store_unavailable"' in line
        ]
        assert counted, "not counted"
    return (
        f"503 after {longest:.1f} s at most ({WAIT_SECONDS:g} s set), not ready meanwhile, ready again in {back:.1f} s"
    )


@CHAPTER.case("4b", "no answered item is lost where synchronous_commit is off and the server is killed", in_short=False)
def not_synchronous(trial: Trial) -> str:
    postgres = EmbeddedPostgres(trial.folder / "own", {"synchronous_commit": "off"})
    url = postgres.start()
    try:
        with _service.running(trial.folder / "service", url) as service:
            until("ready", lambda: ready(service)[0] == 200)
            taken = []
            for round_ in range(trial.pick(5, 1)):
                for number in range(1, 4):
                    item = f"u{round_}-0-1-{number}-1-1"
                    if post(service, json.dumps([item]).encode())[0] == 200:
                        taken.append(item)
                for process in list(postmaster.members(postgres.cluster)):
                    with suppress(psycopg.Error, ProcessLookupError):
                        process.kill()
                postgres.start()
                until("ready", lambda: ready(service)[0] == 200)
            found = _exchange(service, "GET", "/v1/ledger/events?limit=10000")[1].decode()
        lost = [item for item in taken if item not in found]
        assert not lost, f"{len(lost)} of {len(taken)} lost"
        return f"{len(taken)} answered, none lost"
    finally:
        postgres.stop("immediate")


@CHAPTER.case("4c", "databases of another encoding are refused before anything is written", in_short=False)
def other_encodings(trial: Trial) -> str:
    def tried(encoding: str) -> str:
        with cluster().database(f"ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C'") as name:
            folder = trial.folder / encoding
            folder.mkdir()
            refused(folder, cluster().of(name), f"has the encoding {encoding}", "ENCODING 'UTF8'")
            with psycopg.connect(cluster().of(name), client_encoding="UTF8") as connection:
                row = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
            assert row == (0,), "tables were made"
        return encoding

    with ThreadPoolExecutor(3) as at_once:
        return f"refused: {', '.join(at_once.map(tried, ('SQL_ASCII', 'LATIN1', 'EUC_CN')))}"


@CHAPTER.case(
    "4d", "settings of the database, the role and the environment change nothing: every post 200, names whole"
)
def hostile_settings(trial: Trial) -> str:
    environment = {"PGCLIENTENCODING": "GBK", "PGDATESTYLE": "SQL, DMY", "PGOPTIONS": "-c statement_timeout=1"}
    role = str(conninfo_to_dict(cluster().url)["user"])
    with cluster().database(settings=HOSTILE) as name:
        for setting, value in HOSTILE.items():
            cluster().execute(f"ALTER ROLE {{}} IN DATABASE {{}} SET {{}} = '{value}'", role, name, setting)
        posts = trial.pick(160, 40)
        with served(trial.folder, name, **environment) as service, ThreadPoolExecutor(16) as senders:

            def send(number: int) -> int:
                body = json.dumps([f"zoë{number % 5}-0-1-{number}-1-1"], ensure_ascii=False).encode()
                return post(service, body, number % 4)[0]

            answered = list(senders.map(send, range(1, posts + 1)))
            assert set(answered) == {200}, f"{sum(each != 200 for each in answered)} of {posts} not 200"
            shown = json.loads(_exchange(service, "GET", f"/v1/users/{quote('zoë1')}/presence")[1])
            assert (shown["uid"], shown["status"]) == ("zoë1", "online"), shown
    return f"{posts} posts answered 200; zoë is zoë"


@CHAPTER.case("4f", "several hosts in the URL: the one that answers is used", in_short=False)
def several_hosts(trial: Trial) -> str:
    with cluster().database() as name:
        url = cluster().of(name).replace("host=", f"host={quote(str(trial.folder / 'nobody'), safe='')},")
        code, said = run(trial.folder, "migrate", url=url)
        assert code == 0, said
        code, said = run(trial.folder, "config", url="postgresql://u:hush@h1:5432,h2:5433/db")
        assert (code, "@h1:5432,h2:5433/db" in said) == (0, True), said
    return "migrated at the second host; h1:5432,h2:5433 is a URL"


@CHAPTER.case("4g", "no password is shown, wherever a URL has it, and nothing of a URL that cannot be read")
def passwords(trial: Trial) -> str:
    urls = (
        "postgresql://u:1234#hush@127.0.0.1:1/d",
        "postgresql://u:1234?hush@127.0.0.1:1/d",
        "postgresql://u@127.0.0.1:1/d?pass%77ord=hush",
        "postgresql://u:word@hush@127.0.0.1/d",
        "postgresql://u:12/hush@127.0.0.1/d",
        "postgres:/u:hush@127.0.0.1",
    )

    def tried(url: str) -> str:
        commands = ("config",) if trial.short else ("config", "migrate")
        return "".join(run(trial.folder, command, url=url)[1] for command in commands)

    with ThreadPoolExecutor(3) as at_once:
        for url, said in zip(urls, at_once.map(tried, urls), strict=True):
            assert said, url
            assert "hush" not in said, said
            assert "1234" not in said, said
    return f"{len(urls)} URLs, no password"


@CHAPTER.case("4h", "a pooler in transaction mode is refused at the start, in words")
def transaction_pooling(trial: Trial) -> str:
    with cluster().database() as name, pooled(cluster().of(name), by_transaction=True) as url:
        said = refused(trial.folder, url, "pool_mode = transaction", "pool_mode = session")
    if shutil.which("pgbouncer"):
        return f"{said[:60]}… (PgBouncer itself is alongside its likeness)"
    return f"{said[:60]}…"


@CHAPTER.case("4i", "too few connections: refused at the start; not ready where they become too few", in_short=False)
def few_connections(trial: Trial) -> str:
    with cluster().database() as name:
        cluster().execute("ALTER DATABASE {} CONNECTION LIMIT 3", name)
        refused(trial.folder, cluster().of(name), "3 connections are allowed", "needs 5")
        cluster().execute("ALTER DATABASE {} CONNECTION LIMIT -1", name)
        with served(trial.folder, name) as service:
            cluster().execute("ALTER DATABASE {} CONNECTION LIMIT 1", name)
            cluster().end_sessions(name, "presence-ledger leader")
            until("not ready", lambda: ready(service)[0] == 503)
            _, said = ready(service)
            cluster().execute("ALTER DATABASE {} CONNECTION LIMIT -1", name)
            until("ready again", lambda: ready(service)[0] == 200)
    return f"refused with 3; with fewer while it runs: {said['detail']}"


@CHAPTER.case("4j", "read-only, no CREATE, a wrong password, no such database: each in its own words, at once")
def unfit(trial: Trial) -> str:
    with cluster().database() as read_only, cluster().database() as owned:
        cluster().execute("ALTER DATABASE {} SET default_transaction_read_only = on", read_only)
        cluster().execute("REVOKE CREATE ON SCHEMA public FROM pg_database_owner, PUBLIC", database=owned)
        password = str(conninfo_to_dict(cluster().url)["password"])
        wanted = (
            (cluster().of(read_only), "is read-only"),
            (cluster().of(owned), "may not make tables"),
            (cluster().of("postgres").replace(password, "x" * 9), "does not accept this user with this password"),
            (cluster().of("no_such_database"), "has no such database"),
        )

        def tried(number: int) -> str:
            folder = trial.folder / str(number)
            folder.mkdir()
            return refused(folder, *wanted[number])

        with ThreadPoolExecutor(2) as at_once:
            list(at_once.map(tried, range(len(wanted))))
    return "; ".join(says for _, says in wanted)


@CHAPTER.case("4j", "at a start a database that refuses connections is waited for", in_short=False)
def waited_for(trial: Trial) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with cluster().database() as name:
        found = conninfo_to_dict(cluster().of(name))
        url = f"postgresql://{found['user']}:{found['password']}@127.0.0.1:{port}/{name}"
        service = Service(trial.folder / "service", url)
        service.spawn()
        try:
            until("it waits", lambda: "waiting_for_postgresql" in log_of(service))
            with pooled(cluster().of(name), by_transaction=False, port=port):
                took = until("ready", lambda: service.listens() and ready(service)[0] == 200)
                service.stop()
        finally:
            service.kill()
    return f"ready {took:.1f} s after PostgreSQL was"


@CHAPTER.case("4k", "clocks that differ: a warning in the log and in readiness", in_short=False)
def clocks(trial: Trial) -> str:
    with (
        cluster().database() as name,
        served(trial.folder, name, *_service.WITH_EXTRAS, BENCH_CLOCK_SECONDS="3") as service,
    ):
        _, said = ready(service)
        assert "clock_skew" in log_of(service), "nothing in the log"
        assert said["warnings"], said
    return str(said["warnings"][0])
