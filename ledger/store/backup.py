"""The file of a backup: one line that says what it is, signed with the seal key, then an archive of pg_dump.

The line has a fixed length, so that it can be written when the archive is whole; `tail -n +2 FILE` is the archive.
Seals prove the events alone. What else is in the archive, API keys above all, is proven by the signature: an HMAC over
the line, in which the archive's digest stands.
"""

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ledger.errors import LedgerError
from ledger.store.seal import SealKey, SealKeys

FORMAT = 2
UNSIGNED_FORMAT = 1
"""Of earlier versions: anyone who could write the file could replace its digest as well."""
LINE_BYTES = 1024
PIECE_BYTES = 1024 * 1024

_NAME = "presence_ledger_backup"
_PURPOSE = b"presence ledger backup\n"

Told = Callable[[int, int], None]
"""Called with how many bytes are done, of how many; 0 where that is not known."""


class BackupError(LedgerError):
    """A file is not a backup, is incomplete, or cannot be made or restored."""


class BackupAltered(BackupError):
    """A file is not what was written."""


class BackupUnproven(BackupError):
    """Nothing here can tell whether a backup is what was written: its key is missing, or it has no signature."""


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
    """Of the archive."""
    key_id: str = ""
    """Of the seal key that signed this; empty in a backup of an earlier version."""
    signature: str = ""

    def signed(self, key: SealKey) -> "Backup":
        """The same, signed."""
        named = replace(self, key_id=key.id.hex())
        return replace(named, signature=_signature(named, key))

    def prove(self, keys: SealKeys, path: Path) -> None:
        """Whether all of it is what was written. Raises BackupUnproven, BackupAltered."""
        if not self.key_id:
            raise BackupUnproven(
                f"{path} was made by version {self.version or 'unknown'}, whose backups are proven by nothing but the "
                "seals of their events: API keys may have been added to it."
            )
        key = keys.get(_bytes(self.key_id))
        if key is None:
            raise BackupUnproven(f"{path} is signed by the seal key {self.key_id[:64]}, which is not here.")
        if not hmac.compare_digest(_signature(self, key).encode(), self.signature.encode()):
            raise altered(path)


def first_line(backup: Backup) -> bytes:
    """The line of a backup."""
    text = json.dumps({_NAME: FORMAT} | asdict(backup))
    return text.encode().ljust(LINE_BYTES - 1) + b"\n"


def read_line(file: BinaryIO, path: Path) -> Backup:
    """What the first line of a file says; whether that is so, `prove` and `check` tell. Raises BackupError."""
    try:
        fields = json.loads(file.read(LINE_BYTES))
        form = fields.pop(_NAME)
        if form in {FORMAT, UNSIGNED_FORMAT}:
            return _backup(fields, is_signed=form == FORMAT)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise BackupError(
            f"{path} is not a backup made by `presence-ledger backup`.\nNothing was changed; name such a file."
        ) from error
    raise BackupError(f"{path} was made by a newer version of presence ledger.\nUpgrade this one; nothing was changed.")


def check(file: BinaryIO, path: Path, backup: Backup, told: Told) -> None:
    """Whether what follows the line is the archive that it speaks of. Raises BackupError."""
    compare(digest(file, told, backup.size), path, backup)


def compare(found: tuple[int, str], path: Path, backup: Backup) -> None:
    """Whether an archive of that size and digest is the one that the line speaks of. Raises BackupError."""
    if found == (backup.size, backup.sha256):
        return
    if found[0] < backup.size:
        raise BackupError(f"{path} is truncated.\nNothing was changed; use another backup.")
    raise altered(path)


def altered(path: Path) -> BackupAltered:
    return BackupAltered(f"{path} was altered since it was made.\nNothing was changed; use another backup.")


def digest(file: BinaryIO, told: Told, total: int) -> tuple[int, str]:
    """The size and the SHA-256 of the rest of a file."""
    size, sha256 = 0, hashlib.sha256()
    while piece := file.read(PIECE_BYTES):
        sha256.update(piece)
        size += len(piece)
        told(size, total)
    return size, sha256.hexdigest()


def _backup(fields: dict[str, Any], *, is_signed: bool) -> Backup:
    """Raises ValueError, TypeError."""
    backup: Backup = msgspec.convert(fields, Backup)
    if bool(backup.key_id) is not is_signed:
        raise ValueError("its format and its signature do not go together")
    return backup


def _bytes(text: str) -> bytes:
    """Empty, which is the id of no key, where the text is not hexadecimal."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _signature(backup: Backup, key: SealKey) -> str:
    fields = asdict(backup)
    del fields["signature"]
    content = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return hmac.digest(key.secret, _PURPOSE + content, "sha256").hex()
