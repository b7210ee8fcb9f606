"""The embedded PostgreSQL's configuration: what it is set to, where its socket is, and how its log stays bounded."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ledger.errors import EmbeddedPostgresError
from ledger.files import open_own, own_folder, replacement
from ledger.store.system_user import SystemUser

DATABASE = "presence_ledger"
ROLE = "presence_ledger"

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "max_connections": "60",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    # The wheel has pglz alone, which takes a core for the page images after each checkpoint: the slowest answers to
    # webhooks took half as long again with it.
    "wal_compression": "off",
    # Recovery replays up to this much at about 110 MB/s: 3 s, where 2 GB take 17 s; half of it makes checkpoints so
    # frequent that webhooks wait for them.
    "max_wal_size": "512MB",
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    # A burst of webhooks makes checkpoints follow each other; that is meant.
    "checkpoint_warning": "0",
    "jit": "off",
    # Parallel workers would take the cores from ingest and need more of /dev/shm than containers give.
    "max_parallel_workers_per_gather": "0",
    "max_logical_replication_workers": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] ",
    # Statements carry users' ids; the log says what failed without them.
    "log_min_error_statement": "panic",
}

ACCESS = f"""# Written at every start. Only the ledger's role gets in, and only with its password.
local all {ROLE} scram-sha-256
"""

OWN_SETTINGS = "own.conf"
HEADER = f"# Written at every start; your own settings go into {OWN_SETTINGS} next to this file and win.\n"

# A path in sockaddr_un holds 107 bytes and its end on Linux, 103 elsewhere.
SOCKET_PATH_BYTES = 103
SOCKET_NAME = ".s.PGSQL.5432"

LOG_BYTES = 8 * 1024 * 1024


def write(folder: Path, changes: Mapping[str, str]) -> list[str]:
    """Write the configuration into `folder`; gives the arguments that make `postgres` read it from there.

    It is kept outside the cluster's folder, because that belongs to the user PostgreSQL runs as, and a file we write
    there as root could be a link that they have put there.
    """
    own_folder(folder, 0o755)
    lines = [f"{name} = '{value}'\n" for name, value in {**SETTINGS, **changes}.items()]
    _write(folder / "postgresql.conf", HEADER + "".join(lines) + f"include_if_exists = '{OWN_SETTINGS}'\n")
    _write(folder / "pg_hba.conf", ACCESS)
    return ["-c", f"config_file={folder / 'postgresql.conf'}", "-c", f"hba_file={folder / 'pg_hba.conf'}"]


def socket_folder(data_dir: Path, user: SystemUser) -> Path:
    """A folder of mode 0700 of the user's for the socket: `run` in the data folder, or where that path is too long
    (or has characters that PostgreSQL's setting does not take) one in the system's folder for temporary files."""
    folder = data_dir / "run"
    if not _fits(folder):
        digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"presence-ledger-{digest}"
        if not _fits(folder):
            raise EmbeddedPostgresError(
                f"No path for PostgreSQL's socket is short enough: {folder} has more than {SOCKET_PATH_BYTES} bytes.\n"
                "Set TMPDIR or data_dir to a shorter path."
            )
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    # By its descriptor, so that no link can take its place between the check and the change of its owner.
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (NotADirectoryError, PermissionError) as error:
        raise _owned_by_another(folder) from error
    try:
        if os.fstat(descriptor).st_uid not in {user.uid, os.geteuid()}:
            raise _owned_by_another(folder)
        user.own(descriptor)
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)
    return folder


def _owned_by_another(folder: Path) -> EmbeddedPostgresError:
    return EmbeddedPostgresError(
        f"{folder}, the folder for PostgreSQL's socket, belongs to another user, or is a link.\n"
        "Remove it, then start again."
    )


def trim_log(log: Path) -> None:
    """Keep the log and its predecessor (`.1`) below `LOG_BYTES` each; the server goes on writing, since it appends."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        with os.fdopen(open_own(log, os.O_RDWR), "rb+") as now:
            now.seek(-LOG_BYTES, os.SEEK_END)
            with replacement(log.with_suffix(log.suffix + ".1")) as before:
                shutil.copyfileobj(now, before)
            now.truncate(0)


def _fits(folder: Path) -> bool:
    path = str(folder / SOCKET_NAME)
    return len(os.fsencode(path)) <= SOCKET_PATH_BYTES and re.fullmatch(r"[\w./+-]+", path, re.ASCII) is not None


def _write(file: Path, text: str) -> None:
    with replacement(file, 0o644) as stream:
        stream.write(text.encode())
