"""The PostgreSQL that is measured on: an embedded one in a scratch folder, or a given one, with databases to use up."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from os import getpid
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
from psycopg import sql

from bench._report import Options
from ledger.store import migrate, postmaster
from ledger.store.embedded import EmbeddedPostgres
from tests.support import citus, pg
from tests.support.pg import drop_database

_numbers = count(1)


class Server:
    """A running PostgreSQL; `folder` is for whatever the run needs on disk."""

    def __init__(self, url: str, folder: Path, cluster: Path | None) -> None:
        self._url = url
        self.folder = folder
        self._cluster = cluster

    def describe(self) -> str:
        """Its version, and whether it is ours."""
        return f"{describe(self._url)} ({'embedded, fsync on' if self._cluster else 'external'})"

    @contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[str]:
        """The URL of a database with our schema, or without it, and nothing in it; dropped at the end."""
        name = f"bench_{getpid()}_{next(_numbers)}"
        self._execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        url = urlunsplit(urlsplit(self._url)._replace(path=f"/{name}"))
        try:
            if migrated:
                migrate.apply(url)
            yield url
        finally:
            drop_database(self._url, name)

    def settle(self) -> None:
        """Write out what earlier measurements left to be written."""
        self._execute(sql.SQL("CHECKPOINT"))

    def cpu_seconds(self) -> float:
        """What its living processes used so far; 0 for an external one."""
        if self._cluster is None:
            return 0.0
        return sum(used.user + used.system for used in (p.cpu_times() for p in postmaster.members(self._cluster)))

    def _execute(self, statement: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement)


class CitusServer(Server):
    """A database on the coordinator of a Citus cluster; what is measured are distributed ledgers in schemas of it."""

    def describe(self) -> str:
        """Versions and workers."""
        return citus.describe(self._url)

    @contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[str]:
        """The URL of a distributed ledger with nothing in it, dropped at the end."""
        if not migrated:
            raise ValueError("a ledger is distributed once its tables are there")
        with citus.new_ledger(self._url) as url:
            yield url


@contextmanager
def server(options: Options) -> Iterator[Server]:
    """The server that the options ask for; an embedded one is stopped and removed at the end."""
    with scratch_folder() as folder:
        if options.citus:
            yield CitusServer(options.citus, folder, None)
            return
        if options.database_url:
            yield Server(options.database_url, folder, None)
            return
        postgres = embedded(folder / "postgres", options.settings)
        try:
            yield Server(postgres.start(), folder, postgres.cluster)
        finally:
            postgres.stop("immediate")


def embedded(folder: Path, settings: Mapping[str, str] | None = None) -> EmbeddedPostgres:
    """An embedded one, not started."""
    pg.prepare_data_dir(folder)
    return EmbeddedPostgres(folder, settings or {})


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder with a short path, as sockets want it, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="ledger-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def describe(url: str) -> str:
    """The name and version of a server."""
    with psycopg.connect(url) as connection:
        return f"PostgreSQL {connection.info.parameter_status('server_version')}"


def process_cpu_seconds(pid: int) -> float:
    """What a process used so far, all its threads together."""
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system
