"""What an earlier run has left in a spool's folder: looked through at the start, each damage said, nothing thrown away
that may have been acknowledged."""

import contextlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import structlog

from ledger.domain.observation import SECOND, Instant
from ledger.files import open_own, replacement
from ledger.spool.format import FILE_HEAD_BYTES, Damaged, read_file_head, records

log = structlog.get_logger()

SUFFIX = ".spool"
REFUSED_SUFFIX = ".refused"
"""What PostgreSQL would not take, or could not be judged: it is tried again at the next start."""
DAMAGED_SUFFIX = ".damaged"
FOREIGN_SUFFIX = ".foreign"

FOLDER = "spool"
"""Its name in the data folder."""


class Leftover(NamedTuple):
    """A file that holds webhooks which may not be in the ledger yet."""

    first_at: Instant
    """When the first of them was received."""
    path: Path
    salt: bytes
    size: int
    deliveries: int


class NotDrained(NamedTuple):
    """A file of webhooks that lies there and is not being drained."""

    path: Path
    written_at: Instant


def take_over(path: Path, ledger: str) -> Leftover | None:
    """What is whole in a file is to be handed out, what is not is said; None where there is nothing. Raises OSError."""
    data = read_from(path, 0, None)
    head = read_file_head(data)
    if head is None:
        if len(data) < FILE_HEAD_BYTES:
            # It was cut off before anything in it was acknowledged.
            log.warning("spool_torn", file=str(path), bytes=len(data), meaning="nothing in it was acknowledged")
            path.unlink()
        else:
            _rename(path, DAMAGED_SUFFIX, "its head is damaged")
        return None
    if head.ledger != ledger:
        _rename(path, FOREIGN_SUFFIX, f"it is of the ledger {head.ledger}, this one is {ledger}")
        return None
    first_at: Instant | None = None
    deliveries = 0
    for found in records(head.salt, data, FILE_HEAD_BYTES):
        if isinstance(found, Damaged):
            _say_damaged(path, found, data)
        else:
            deliveries += 1
            first_at = found.webhook.received_at if first_at is None else first_at
    if first_at is None:
        path.unlink()
        return None
    return Leftover(first_at, path, head.salt, len(data), deliveries)


def left_in(folder: Path) -> bool:
    """Whether an earlier run has left anything in a spool's folder."""
    return any(next(folder.glob(f"*{suffix}"), None) is not None for suffix in (SUFFIX, REFUSED_SUFFIX))


def not_drained(folder: Path, drained: Collection[Path]) -> list[NotDrained]:
    """The files in a spool's folder but for those that are drained, by name: put aside, damaged, of another ledger, or
    laid there since the start. Raises OSError."""
    found = []
    for suffix in (SUFFIX, REFUSED_SUFFIX, DAMAGED_SUFFIX, FOREIGN_SUFFIX):
        for path in folder.glob(f"*{suffix}"):
            # One may be deleted meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if path not in drained:
                    found.append(NotDrained(path, round(path.stat().st_mtime * SECOND)))
    return sorted(found)


def read_from(path: Path, begin: int, size: int | None) -> bytes:
    """So many bytes of a file, all that follow where no number is given. Raises OSError."""
    descriptor = open_own(path, os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as file:
        file.seek(begin)
        return file.read() if size is None else file.read(size)


def _rename(path: Path, suffix: str, reason: str) -> None:
    aside = path.with_suffix(suffix)
    path.rename(aside)
    log.error("spool_file_put_aside", file=str(aside), reason=reason)


def _say_damaged(path: Path, damaged: Damaged, data: bytes) -> None:
    size = damaged.end - damaged.begin
    if damaged.is_tail:
        meaning = "a write was cut off: what it was to be was never acknowledged"
        log.warning("spool_torn", file=str(path), at=damaged.begin, bytes=size, meaning=meaning)
        return
    copy = path.with_suffix(DAMAGED_SUFFIX)
    with replacement(copy) as file:
        file.write(data)
    log.error("spool_damaged", file=str(path), at=damaged.begin, bytes=size, copy=str(copy))
