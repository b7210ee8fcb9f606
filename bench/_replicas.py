"""Two PostgreSQL servers of which one streams to the other: killed, promoted, and made a standby again."""

import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from ledger.store.system_user import postgres_user
from tests.support.external import PASSWORD, ExternalPostgres

PATIENCE_SECONDS = 120.0

_TRUSTED = """host all postgres 127.0.0.1/32 trust
host replication postgres 127.0.0.1/32 trust
"""
_SENDS = "SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'"
_STANDBYS = "synchronous_standby_names"


class _Server(ExternalPostgres):
    """One of the two, whose superuser may come from this machine."""

    def make(self) -> None:
        """A new cluster, started."""
        self.start()
        with (self.cluster / "pg_hba.conf").open("a") as file:
            file.write(_TRUSTED)
        self._pg_ctl(postgres_user(self.cluster), "reload")

    def follow(self, primary: "_Server") -> None:
        """Become the standby of another, as a copy of what it is now, and start."""
        user = postgres_user(self.cluster)
        shutil.rmtree(self.cluster, ignore_errors=True)
        self.cluster.mkdir(mode=0o700)
        user.own(self.cluster)
        source = f"host=127.0.0.1 port={primary.port_file.read_text()} user=postgres"
        copy = [str(self._programs(user) / "pg_basebackup"), "-D", str(self.cluster), "-d", source, "-R", "-c", "fast"]
        arguments: dict[str, Any] = {**user.popen_arguments()}
        subprocess.run(copy, check=True, capture_output=True, **arguments)
        self.start()
        # Once it is promoted nobody follows it yet, and a commit would wait for somebody.
        self.wait_for_standby("")

    def promote(self) -> None:
        """Take writes from here on."""
        self._pg_ctl(postgres_user(self.cluster), "promote", "-w", "-t", "120")

    def wait_for_standby(self, names: str) -> None:
        """Which standbys a commit waits for, `*` being any and none where it is empty."""
        self._execute(f"ALTER SYSTEM SET {_STANDBYS} = '{names}'")
        self._execute("SELECT pg_reload_conf()")

    def sends(self) -> list[str]:
        """`sync` or `async`, of each standby that keeps up."""
        return [state for (state,) in self._execute(_SENDS)]

    def _execute(self, statement: str) -> list[tuple[Any, ...]]:
        url = f"postgresql://postgres@127.0.0.1:{self.port_file.read_text()}/postgres"
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


class Replicas:
    """The two; `synchronous`: a commit is answered once the standby has it on disk."""

    def __init__(self, folder: Path, settings: Mapping[str, str], *, synchronous: bool) -> None:
        self._servers = [_Server(folder / name, settings) for name in ("a", "b")]
        self._synchronous = synchronous

    def start(self) -> None:
        """Both, the second following the first."""
        primary, standby = self._servers
        primary.make()
        # A port is chosen where a cluster is made.
        standby.make()
        standby.stop("immediate")
        self._follow(standby, primary)

    def url(self, database: str) -> str:
        """Of a database on whichever takes writes."""
        ports = [server.port_file.read_text() for server in self._servers]
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        return f"postgresql://presence_ledger:{PASSWORD.replace(' ', '%20')}@{hosts}/{database}"

    def primary_url(self, database: str) -> str:
        """Of a database on the one that takes writes now."""
        return self._servers[0].url(database)

    def fail_over(self) -> float:
        """kill -9 of the primary, and the standby in its place -> the instant of the blow, by the monotonic clock."""
        primary, standby = self._servers
        began = time.monotonic()
        primary.kill()
        standby.promote()
        self._servers = [standby, primary]
        return began

    def repair(self) -> None:
        """The one that was killed follows the other."""
        primary, standby = self._servers
        self._follow(standby, primary)

    def stop(self) -> None:
        """Both."""
        for server in self._servers:
            server.stop("immediate")

    def _follow(self, standby: _Server, primary: _Server) -> None:
        standby.follow(primary)
        if self._synchronous:
            primary.wait_for_standby("*")
        wanted = ["sync" if self._synchronous else "async"]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while primary.sends() != wanted:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the standby does not keep up: {primary.sends()}")
            time.sleep(0.05)
