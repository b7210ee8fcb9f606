"""The PostgreSQL servers of a test run, shared by all its workers, and databases of their own for the tests.

A server starts when the first test wants it; a database is a clone of one that was migrated once.
"""

import atexit
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
import pytest
from psycopg import sql

from ledger.store import migrate
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.system_user import VERSION, postgres_user, programs
from tests.support.external import OLDER_VERSION, RUN_VARIABLE, ExternalPostgres, debian_programs, one_at_a_time

DROP_SECONDS = 60.0
MEMORY = Path("/dev/shm")
ROOM_BYTES = 8 * 2**30


def _place() -> Path:
    """In memory, where it has room and lets programs run: a tenth of what making and dropping them takes on a disk."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK):
        memory = os.statvfs(MEMORY)
        room = min(memory.f_bavail * memory.f_frsize, psutil.virtual_memory().available)
        if room >= ROOM_BYTES and not memory.f_flag & os.ST_NOEXEC:
            return MEMORY
    return Path(tempfile.gettempdir())


RUNS = _place() / f"presence-ledger-tests-{os.geteuid()}"
COMING_AND_GOING = RUNS.with_suffix(".lock")
TEMPORARY = Path(tempfile.gettempdir()) / f"ledger-tests-{os.geteuid()}"
"""Of pytest's temporary folders, one for each run: above the usual ones each run closes the way to others anew, and so,
for root, to the user that PostgreSQL runs as in the run beside it."""
TEMPORARY_VARIABLE = "PYTEST_DEBUG_TEMPROOT"

# Durability has tests of its own, with servers of their own.
FAST: Mapping[str, str] = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

# Half the time of the usual strategy, which writes every page into the log as well.
COPIED: LiteralString = "CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY"

SERVERS = ("embedded", "external")
TEMPLATE = "migrated"

on_every_server = pytest.mark.parametrize("server", SERVERS, indirect=True)

_numbers = count(1)
_connections: dict[str, psycopg.Connection[Any]] = {}


class Run:
    """The folder of one test run; its lock is held while the run lives, so that a later one can clear up after it.

    Folders come and go one at a time: made and not yet locked, one looks as if a killed run had left it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.mkdir(parents=True)
        self.temporary = TEMPORARY / path.name
        self._lock = _locked(self.path)

    @classmethod
    def begin(cls) -> "Run":
        """Clear up what killed runs left, and begin a new one."""
        with one_at_a_time(COMING_AND_GOING):
            RUNS.mkdir(mode=0o700, exist_ok=True)
            for left in RUNS.iterdir():
                if (lock := _locked(left)) is not None:
                    _clear(left)
                    os.close(lock)
            run = cls(RUNS / str(os.getpid()))
            TEMPORARY.mkdir(mode=0o700, exist_ok=True)
            for left in TEMPORARY.iterdir():
                if not (RUNS / left.name).exists():
                    shutil.rmtree(left, ignore_errors=True)
            run.temporary.mkdir(exist_ok=True)
        os.environ[RUN_VARIABLE] = str(run.path)
        os.environ[TEMPORARY_VARIABLE] = str(run.temporary)
        return run

    def end(self) -> None:
        """Stop the servers and remove the folders."""
        with one_at_a_time(COMING_AND_GOING):
            shutil.rmtree(self.temporary, ignore_errors=True)
            _clear(self.path)
        if self._lock is not None:
            os.close(self._lock)


def server_url(name: str) -> str:
    """The URL of the running server `name` (one of `SERVERS`), of a database that is not for tests; starts it first."""
    folder = Path(os.environ[RUN_VARIABLE])
    record = folder / f"{name}.url"
    with one_at_a_time(folder / f"{name}.starting"):
        if not record.exists():
            record.write_text(_start(name, folder / name))
    return record.read_text()


def template(url: str) -> str:
    """The name of the migrated database on the server of `url`, made by the first that asks."""
    folder = Path(os.environ[RUN_VARIABLE])
    made = folder / f"{urlsplit(url).port or 'embedded'}.migrated"
    with one_at_a_time(made.with_suffix(".migrating")):
        if not made.exists():
            _execute(url, sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(TEMPLATE)))
            _execute(url, sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(TEMPLATE)))
            migrate.apply(with_database(url, TEMPLATE))
            made.touch()
    return TEMPLATE


@contextmanager
def new_database(url: str, *, migrated: bool = True) -> Iterator[str]:
    """A database on the server of `url`, with our schema or with nothing in it, dropped at the end, clients or not."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    model = template(url) if migrated else "template0"
    _execute(url, sql.SQL(COPIED).format(sql.Identifier(name), sql.Identifier(model)))
    try:
        yield with_database(url, name)
    finally:
        drop_database(url, name)


def drop_database(url: str, name: str) -> None:
    """Drop a database with its clients; autovacuum's worker is not ours to end, so it is waited for."""
    deadline = time.monotonic() + DROP_SECONDS
    while True:
        try:
            _execute(url, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


@contextmanager
def new_data_dir() -> Iterator[Path]:
    """A path for a data folder, below the run's; whatever runs in it is ended and it is removed at the end."""
    path = Path(os.environ[RUN_VARIABLE]) / "data" / f"{os.getpid()}-{next(_numbers)}"
    path.parent.mkdir(exist_ok=True)
    try:
        yield path
    finally:
        _remove_data_dir(path)


def make_data_dir(path: Path) -> None:
    """Make a data folder whose PostgreSQL is made and stopped: a copy, for a fifth of what making one takes."""
    folder = Path(os.environ[RUN_VARIABLE])
    made = folder / "made"
    with one_at_a_time(folder / "made.making"):
        if not made.exists():
            making = EmbeddedPostgres(folder / "made.new")
            making.start()
            making.stop()
            making.data_dir.rename(made)
    subprocess.run(["cp", "-a", made, path], check=True)


def prepare_data_dir(path: Path) -> None:
    """The same for what need not have one and may run elsewhere than in tests: there, and where it is, nothing."""
    if RUN_VARIABLE in os.environ and not path.exists():
        make_data_dir(path)


def with_database(url: str, database: str) -> str:
    """The same server's other database. `postgresql://…@/name?host=…` has an empty host, which must stay."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{database}"))


def versions() -> dict[str, str]:
    """What each of `SERVERS` is, as its program says."""
    older = debian_programs()
    user = postgres_user(Path("none"))
    copies = Path(os.environ[RUN_VARIABLE]) / "programs"
    found = {"embedded": programs(VERSION, user, copies), "external": older or programs(OLDER_VERSION, user, copies)}
    return {
        name: subprocess.run([folder / "postgres", "--version"], check=True, capture_output=True, text=True)
        .stdout.strip()
        .removeprefix("postgres (PostgreSQL) ")
        for name, folder in found.items()
    }


def _start(name: str, folder: Path) -> str:
    if name == "external":
        return ExternalPostgres(folder, FAST).start()
    url = EmbeddedPostgres(folder, {**FAST, "max_connections": "200"}).start()
    _make_connecting_cheap(url)
    return url


def _make_connecting_cheap(url: str) -> None:
    """The same password with a digest that takes no time: tests connect thousands of times."""
    password = sql.Literal(str(psycopg.conninfo.conninfo_to_dict(url)["password"]))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET scram_iterations = 1")
        connection.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(password))


def _execute(url: str, statement: sql.Composed) -> None:
    """On a connection to that server that is kept open for all that this process makes and drops there."""
    kept = _connections.get(url)
    if kept is not None:
        try:
            kept.execute(statement)
        except psycopg.OperationalError:
            # A test that restarts a server of its own has ended it.
            if not kept.closed:
                raise
        else:
            return
    _connections[url] = psycopg.connect(url, autocommit=True)
    _connections[url].execute(statement)


@atexit.register
def _disconnect() -> None:
    for connection in _connections.values():
        connection.close()


def _locked(folder: Path) -> int | None:
    lock = os.open(folder / "run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _remove_data_dir(path: Path) -> None:
    if path.exists():
        EmbeddedPostgres(path).stop("immediate")
        _remove(path)


def _clear(folder: Path) -> None:
    for left in (folder / "data").glob("*"):
        _remove_data_dir(left)
    for name in ("embedded", "made.new"):
        EmbeddedPostgres(folder / name).stop("immediate")
    ExternalPostgres(folder / "external").stop("immediate")
    _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder; what is just ending may still remove or write files of its own in it."""
    deadline = time.monotonic() + DROP_SECONDS
    while folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
