"""A PostgreSQL that is not ours: Debian's, where it is installed, else the wheel's older one, over TCP with a password.

It is a cluster of its own in a folder of its own; an installed cluster is left alone.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from ledger.store import postmaster
from ledger.store.system_user import SystemUser, let_pass, postgres_user, programs

PASSWORD = "for the tests"
OLDER_VERSION = 16
RUN_VARIABLE = "LEDGER_TESTS_RUN"
"""Where the folder of this test run is, which keeps what its tests have in common, and what they start."""


def debian_programs() -> Path | None:
    """The folder of programs of the newest PostgreSQL that the system has installed."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return max(found, key=lambda path: int(path.parent.name), default=None)


@dataclass
class ExternalPostgres:
    """A cluster in `folder`, listening on 127.0.0.1 at `port`; `start` makes it if there is none."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self.cluster = self.folder / "cluster"
        self.port_file = self.folder / "port"

    def start(self) -> str:
        """Start (again) and wait until it takes connections; returns the URL of the database `postgres`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        user = postgres_user(self.cluster)
        let_pass(self.folder, user)
        if not self.cluster.exists():
            self._make(user)
        options = {"listen_addresses": "127.0.0.1", "port": self.port_file.read_text(), "max_connections": "100"}
        options |= {"unix_socket_directories": "", **self.settings}
        text = " ".join(f"-c {name}='{value}'" for name, value in options.items())
        # The server inherits what pg_ctl writes to: a pipe would never end.
        self._pg_ctl(user, "start", "-w", "-t", "120", "-l", str(self.cluster / "log"), "-o", text)
        return self.url()

    def stop(self, mode: str = "fast") -> None:
        """Stop and wait for the end; nothing happens when it does not run."""
        if postmaster.find(self.cluster) is not None:
            self._pg_ctl(postgres_user(self.cluster), "stop", "-w", "-t", "120", "-m", mode)

    def kill(self) -> None:
        """kill -9 of every process of it; returns when none is left and `start` may follow."""
        deadline = time.monotonic() + 30
        while members := list(postmaster.members(self.cluster)):
            assert time.monotonic() < deadline, members
            for process in members:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
            time.sleep(0.01)
        # Where nobody reaps orphans, their numbers stay taken, and PostgreSQL would believe the file.
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    def url(self, database: str = "postgres") -> str:
        """The URL of a database of it, for an ordinary role that may make databases."""
        password = PASSWORD.replace(" ", "%20")
        return f"postgresql://presence_ledger:{password}@127.0.0.1:{self.port_file.read_text()}/{database}"

    def _make(self, user: SystemUser) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port_file.write_text(str(free.getsockname()[1]))
        if (run := os.environ.get(RUN_VARIABLE)) is None:
            self._init(self.cluster, user)
            return
        # A copy takes a fifth of the time.
        made = Path(run) / "external.made"
        with one_at_a_time(made.with_suffix(".making")):
            if not made.exists():
                let_pass(made.parent, user)
                self._init(made.with_suffix(".new"), user)
                made.with_suffix(".new").rename(made)
        subprocess.run(["cp", "-a", made, self.cluster], check=True)

    def _init(self, cluster: Path, user: SystemUser) -> None:
        cluster.mkdir(mode=0o700)
        user.own(cluster)
        command = [str(self._programs(user) / "initdb"), "-D", str(cluster), "-U", "postgres", "--no-sync"]
        self._run([*command, "--auth=reject", "--encoding=UTF8", "--locale=C.UTF-8"], "", user, cluster)
        (cluster / "pg_hba.conf").write_text("host all presence_ledger 127.0.0.1/32 scram-sha-256\n")
        statement = f"CREATE ROLE presence_ledger LOGIN CREATEDB PASSWORD '{PASSWORD}'\n"
        single = [str(self._programs(user) / "postgres"), "--single", "-c", "exit_on_error=on"]
        single += ["-D", str(cluster), "postgres"]
        self._run(single, statement, user, cluster)

    def _programs(self, user: SystemUser) -> Path:
        return debian_programs() or programs(OLDER_VERSION, user, self.folder / "programs")

    def _pg_ctl(self, user: SystemUser, *arguments: str) -> None:
        command = [str(self._programs(user) / "pg_ctl"), "-s", "-D", str(self.cluster), *arguments]
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, **user.popen_arguments()
        )
        if done.returncode != 0:
            log = self.cluster / "log"
            raise RuntimeError(f"{command} failed: {log.read_text() if log.exists() else 'no log'}")

    def _run(self, command: list[str], text: str, user: SystemUser, cluster: Path) -> None:
        arguments: dict[str, Any] = {**user.popen_arguments()}
        del arguments["stdin"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, **arguments)
        if done.returncode != 0:
            shutil.rmtree(cluster)
            raise RuntimeError(f"{command} failed: {done.stderr}")


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Hold the lock of a file against every other process of the test run."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
