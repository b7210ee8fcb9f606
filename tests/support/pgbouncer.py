"""A real PgBouncer before a PostgreSQL, which lends few sessions: started, stopped and started anew on command."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from ledger.simulator.ports import free_port

DEADLINE_SECONDS = 60.0

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

needs_pgbouncer = pytest.mark.skipif(PROGRAM is None, reason="there is no pgbouncer")

Mode = Literal["session", "transaction", "statement"]


class PgBouncer:
    """One on a port of its own, before the database of a URL over TCP."""

    def __init__(self, folder: Path, url: str, mode: Mode = "transaction", sessions: int = 4) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        found = {name: str(value) for name, value in conninfo_to_dict(url).items()}
        self.port = free_port()
        self.url = f"postgresql://{found['user']}@127.0.0.1:{self.port}/{found['dbname']}"
        self._settings = folder / "pgbouncer.ini"
        self._log = folder / "pgbouncer.log"
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "users").write_text(f'"{found["user"]}" ""\n', encoding="utf-8")
        password = found["password"].replace("'", "''")
        lines = [
            "[databases]",
            f"{found['dbname']} = host={found['host']} port={found['port']} user={found['user']} password='{password}'",
            "[pgbouncer]", "listen_addr = 127.0.0.1", f"listen_port = {self.port}", "unix_socket_dir =",
            # Who may come in is not what is tested.
            "auth_type = trust", f"auth_file = {folder / 'users'}",
            f"pool_mode = {mode}", f"default_pool_size = {sessions}", "max_client_conn = 200",
        ]  # fmt: skip
        self._settings.write_text("\n".join([*lines, ""]), encoding="utf-8")

    def start(self) -> None:
        """Start it, and wait until it lets in."""
        assert PROGRAM is not None
        # It refuses to run as root.
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, *user, str(self._settings)], stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                psycopg.connect(self.url).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, self._log.read_text(encoding="utf-8")
                assert time.monotonic() < deadline
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE_SECONDS)


@contextmanager
def pgbouncer(folder: Path, url: str, mode: Mode = "transaction", sessions: int = 4) -> Iterator[PgBouncer]:
    """One that runs, ended at the end; it lends so many sessions of the server at once."""
    server = PgBouncer(folder, url, mode, sessions)
    try:
        server.start()
        yield server
    finally:
        server.kill()
