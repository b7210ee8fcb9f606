"""The service under test: a process of its own, started by the very command that an operator uses."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench import _client
from ledger.store import postmaster
from ledger.store.seal import SealKey
from tests.support import alongside, pg
from tests.support.external import RUN_VARIABLE
from tests.support.forked import Forked

REPOSITORY = Path(__file__).parents[1]
SECRET = "bench-webhook-secret"  # noqa: S105
KEY = "bench-api-key"
SEAL_KEY = SealKey("the-seal-key-of-the-benches-ledgers")
NODES = 16
PRODUCT = ("-m", "ledger")
WITH_EXTRAS = ("-m", "bench._serve")
"""See `bench/_serve.py`."""
START_SECONDS = 120.0
STOP_SECONDS = 60.0

CONFIGURATION = """
data_dir = "{folder}/data"
database_url = "{database_url}"
seal_keys = "{seal_key}"
listen = "127.0.0.1:{port}"
front_listen = "{front}"
front_connections = 20000
# What was answered 200 is in the ledger: what asks for that waits for nothing else.
spool_bytes = 0
log_level = "warning"
{tables}
[api_keys]
bench = {{ key = "{key}", scopes = ["admin"] }}
"""
MAIN = f"""
[[sources]]
name = "main"
profile = "v2.2"
webhook_secret = "{SECRET}"
{{source}}
""" + "\n".join(f'[[sources.nodes]]\nname = "n{number}"' for number in range(1, NODES + 1))


class Service:
    """An instance with `NODES` nodes, its settings and its log in `folder`; `source` are more lines of its source's.

    With `fronted` it has a front, on `front_port`. `tables` are more tables of its settings.
    """

    def __init__(
        self, folder: Path, database_url: str = "", command: Sequence[str] = PRODUCT, source: str = "",
        fronted: bool = False, tables: str = "", **extras: str,
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._held = _held_port()
        self.port: int = self._held.getsockname()[1]
        self._front = _held_port() if fronted else None
        self.front_port: int = self._front.getsockname()[1] if self._front else 0
        self._database_url = database_url
        self._command = command
        self._extras = extras
        self.settings = folder / "presence-ledger.toml"
        self.configure(MAIN.format(source=source) + tables)
        self._process: subprocess.Popen[bytes] | Forked | None = None

    def configure(self, tables: str) -> None:
        """Write the settings, with these tables; they hold from the next start."""
        self.settings.write_text(
            CONFIGURATION.format(
                folder=self.folder,
                database_url=self._database_url.replace("\\", "\\\\"),
                port=self.port,
                front=f"127.0.0.1:{self.front_port}" if self.front_port else "",
                seal_key=SEAL_KEY.text,
                tables=tables,
                key=KEY,
            ),
            encoding="utf-8",
        )

    @property
    def cluster(self) -> Path:
        """Where the embedded PostgreSQL's files are, if it has one."""
        return (self.folder / "data" / "postgres").resolve()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def spawn(self) -> None:
        """Start the process and do not wait for anything."""
        # Neither an operator's settings nor a coverage measurement may slow it down.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PRESENCE_LEDGER_", "COVERAGE_"))}
        environment |= {"PYTHONPATH": str(REPOSITORY)} | self._extras
        command, log_file = [*self._command, "--config", str(self.settings), "serve"], self.folder / "service.log"
        if not self._database_url:
            pg.prepare_data_dir(self.folder / "data")
        if RUN_VARIABLE in os.environ and command[0] == "-m":
            self._process = Forked(command[1], command[2:], self.folder, environment, log_file)
            return
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command], cwd=self.folder, env=environment, stdout=log, stderr=log
            )

    def start(self) -> None:
        """Start it and wait until it takes connections. Raises RuntimeError with its last words."""
        self.spawn()
        deadline = time.monotonic() + START_SECONDS
        while not (self.listens() and (self._front is None or self.listens(self.front_port))):
            self.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"the service does not listen after {START_SECONDS:g} s")
            time.sleep(0.01)

    def listens(self, port: int = 0) -> bool:
        """Whether it takes connections, on its own port or another of its."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port or self.port)) == 0

    def child(self, module: str) -> psutil.Process | None:
        """The process of that module next to it, if there is one."""
        return alongside.find(self.pid, module)

    def check(self) -> None:
        """Raises RuntimeError where the process has ended."""
        if self._process is None or self._process.poll() is not None:
            words = (self.folder / "service.log").read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"the service ended:\n{words[-2000:]}")

    def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._end(signal.SIGKILL)

    def kill_postgres(self, only_postmaster: bool) -> None:
        """SIGKILL to the embedded PostgreSQL: to its first process alone, or to all of them."""
        running = postmaster.find(self.cluster)
        victims = list(postmaster.members(self.cluster))
        if only_postmaster and running is not None:
            victims = [running.process]
        for process in victims:
            if process.is_running():
                os.kill(process.pid, signal.SIGKILL)

    def webhook(self, body: bytes, node: int = 0) -> bytes:
        """The request that brings a body from one of the nodes, counted from 0."""
        path = f"/hooks/main/n{node + 1}/{SECRET}?event=user.onlinestatus"
        return _client.post(path, body)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(STOP_SECONDS)


@contextmanager
def running(
    folder: Path, database_url: str, command: Sequence[str] = PRODUCT, source: str = "", **extras: str
) -> Iterator[Service]:
    """A service that listens, stopped at the end; `extras` are of its environment."""
    with _started(Service(folder, database_url, command, source, False, **extras)) as service:
        yield service


@contextmanager
def running_with_sinks(folder: Path, database_url: str, tables: str) -> Iterator[Service]:
    """The same with sinks, tables of its settings."""
    with _started(Service(folder, database_url, tables=tables)) as service:
        yield service


@contextmanager
def running_with_front(
    folder: Path, database_url: str, command: Sequence[str] = PRODUCT, **extras: str
) -> Iterator[Service]:
    """The same with a front on `front_port`."""
    with _started(Service(folder, database_url, command, fronted=True, **extras)) as service:
        yield service


@contextmanager
def _started(service: Service) -> Iterator[Service]:
    service.start()
    try:
        yield service
        service.check()
    finally:
        service.stop()


def _held_port() -> socket.socket:
    """A port that the kernel hands to nobody else while this socket is open, and that the service shares."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind(("127.0.0.1", 0))
    return holder
