"""The event of an archived partition, of the service's own stream: what left the database, and into which files.

Nothing of who is online follows from it.
"""

import msgspec

from ledger.domain.observation import Instant


class ArchivedFile(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A file as it was written; an erasure may have replaced it since."""

    name: str
    events: int
    size: int
    """Bytes."""
    sha256: str


class EventsArchived(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The events of users up to a position left the database, each proven by its seal; what sources said stays."""

    at: Instant
    first: int
    """The first position of what was archived now …"""
    before: int
    """… and the first one that was not."""
    files: tuple[ArchivedFile, ...]
