"""The file of a backup: one line that says what it is and which head it has, then an archive of pg_dump.

The line has a fixed length, so that it can be written when the archive is whole; `tail -n +2 FILE` is the archive.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ledger.errors import LedgerError
from ledger.store.replacing import unusable

FORMAT = 1
LINE_BYTES = 1024
PIECE_BYTES = 1024 * 1024

Told = Callable[[int, int], None]
"""Told how many bytes are done, of how many; 0 where that is not known."""


class BackupError(LedgerError):
    """A file is no backup, is not whole, or cannot be made or restored."""


@dataclass(frozen=True)
class Backup:
    """What the first line says."""

    made_at: str
    version: str
    """Of presence ledger, that made it."""
    head: dict[str, Any]
    """The ledger's last seal, signed; see `seal_head`."""
    size: int
    """Of the archive, in bytes."""
    sha256: str


def first_line(backup: Backup) -> bytes:
    """The line of a backup."""
    text = json.dumps({"presence_ledger_backup": FORMAT} | asdict(backup))
    return text.encode().ljust(LINE_BYTES - 1) + b"\n"


def read(path: Path, told: Told) -> Backup:
    """The backup in a file, which is whole. Raises BackupError, FileUnusable."""
    try:
        with path.open("rb") as file:
            backup = _read_line(file.read(LINE_BYTES), path)
            size, sha256 = digest(file, told, backup.size)
    except OSError as error:
        raise unusable(path, error) from error
    if (size, sha256) != (backup.size, backup.sha256):
        reason = "was cut off" if size < backup.size else "was altered since it was made"
        raise BackupError(f"{path} {reason}.\nNothing was changed; use another backup.")
    return backup


def digest(file: BinaryIO, told: Told, total: int) -> tuple[int, str]:
    """The size and the SHA-256 of the rest of a file."""
    size, sha256 = 0, hashlib.sha256()
    while piece := file.read(PIECE_BYTES):
        sha256.update(piece)
        size += len(piece)
        told(size, total)
    return size, sha256.hexdigest()


def _read_line(line: bytes, path: Path) -> Backup:
    try:
        fields = json.loads(line)
        form = fields.pop("presence_ledger_backup")
        if form == FORMAT:
            return Backup(**fields)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise BackupError(
            f"{path} is no backup that `presence-ledger backup` made.\nNothing was changed; name such a file."
        ) from error
    raise BackupError(f"{path} is of a newer version of presence ledger.\nUpgrade this one; nothing was changed.")
