"""What an archived file is held to: its range, its size and digest. No I/O."""

import secrets
from datetime import datetime
from typing import NamedTuple

from ledger.errors import LedgerError

PREFIX = "events-"

SUFFIX = ".parquet"

PATTERN = f"{PREFIX}*{SUFFIX}"
"""Of the names of files."""

PARTIAL = ".partial"
"""Ends the name of a file that is not whole: nobody reads it."""


class ArchiveUnwritable(LedgerError):
    """A file could not be written; nothing of it is left under its name."""


class ArchiveDamaged(LedgerError):
    """A file is missing, cannot be read, or is not the one that was written."""

    def __init__(self, manifest: "Manifest", what: str) -> None:
        self.position = manifest.first
        self.name = manifest.name
        told = f"The archive's file {manifest.name}, of positions {manifest.first:,} to {manifest.last:,}, {what}"
        self.what = told[0].lower() + told[1:]
        super().__init__(f"{told}.\nPut it back from a copy: `archive verify` proves it.")


class Manifest(NamedTuple):
    """One file of the archive, as the table says it.

    The seals of its events stay in the database, so a file is proven by them, event by event; size and SHA-256 tell the
    same of all its bytes at once, without a key.
    """

    first: int
    """The first position that it is for …"""
    before: int
    """… and the first one that it is no longer for."""
    partition: str
    name: str
    """Within the archive's folder."""
    events: int
    size: int
    """Bytes."""
    sha256: str
    recorded_from: datetime
    recorded_to: datetime

    @property
    def last(self) -> int:
        """The last position that it is for."""
        return self.before - 1


def empty(first: int, before: int, partition: str, at: datetime) -> Manifest:
    """Stands for positions of which there is no event, and so no file."""
    return Manifest(first, before, partition, f"none from {first}", 0, 0, "", at, at)


def new_name(first: int) -> str:
    """The name of a file of events from a position on, one that no file ever had; in their order, as names are sorted.

    So a file that replaces another one, and one that a ledger left which has gone back since, stand beside it.
    """
    return f"{PREFIX}{first:019d}-{secrets.token_hex(4)}{SUFFIX}"
