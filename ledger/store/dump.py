"""Runs pg_dump and pg_restore of the embedded PostgreSQL; what they write and read is counted on its way."""

import hashlib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

from psycopg.conninfo import conninfo_to_dict

from ledger.store.backup import PIECE_BYTES, BackupError, Told
from ledger.store.system_user import VERSION, postgres_user, programs

# Digests and seals do not compress, payloads do at once: a better level would take a core for minutes.
_DUMP = ("--format=custom", "--compress=gzip:1", "--no-owner", "--no-privileges")
_RESTORE = ("--format=custom", "--exit-on-error", "--no-owner", "--no-privileges")


def dump(data_dir: Path, url: str, snapshot: str, target: BinaryIO, told: Told, *, without: str) -> tuple[int, str]:
    """Write an archive of the database as an exported snapshot has it -> its size and SHA-256. Raises BackupError.

    The schema `without` is left out, and locks held in it are not waited for.
    """
    with _running(data_dir, url, "pg_dump", *_DUMP, f"--snapshot={snapshot}", f"--exclude-schema={without}") as process:
        assert process.stdout is not None
        size, sha256 = 0, hashlib.sha256()
        while piece := process.stdout.read(PIECE_BYTES):
            target.write(piece)
            sha256.update(piece)
            size += len(piece)
            told(size, 0)
    return size, sha256.hexdigest()


def load(data_dir: Path, url: str, archive: BinaryIO, size: int, told: Told) -> tuple[int, str]:
    """Bring an archive of so many bytes into an empty database -> size and SHA-256 of what it was given.

    Raises BackupError.
    """
    done, sha256 = 0, hashlib.sha256()
    with _running(data_dir, url, "pg_restore", *_RESTORE) as process:
        assert process.stdin is not None
        # Where it ends early, what it said is the reason.
        with suppress(BrokenPipeError):
            while piece := archive.read(PIECE_BYTES):
                process.stdin.write(piece)
                sha256.update(piece)
                done += len(piece)
                told(done, size)
            process.stdin.close()
    return done, sha256.hexdigest()


@contextmanager
def _running(data_dir: Path, url: str, program: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The program at work on a database; raises BackupError with its last word where it fails."""
    user = postgres_user(data_dir / "postgres")
    command = [str(programs(VERSION, user, data_dir / "postgres-programs") / program), *arguments]
    target = conninfo_to_dict(url)
    command.append(f"--dbname=host={target['host']} user={target['user']} dbname={target['dbname']}")
    running: dict[str, Any] = dict(user.popen_arguments())
    running["env"] = running["env"] | {"PGPASSWORD": str(target["password"])}
    with tempfile.TemporaryFile() as said:
        pipes: dict[str, IO[bytes] | int] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": said}
        with subprocess.Popen(command, **(running | pipes)) as process:
            try:
                yield process
            except BaseException:  # an interrupt too: the program would wait on its pipe, and we for it
                process.kill()
                raise
        if process.returncode != 0:
            said.seek(0)
            words = said.read().decode(errors="replace").strip().splitlines() or ["it gave no reason"]
            raise BackupError(f"{program} failed: {words[-1]}\nNothing was changed; postgres.log may say more.")
