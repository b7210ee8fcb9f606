"""What is verified of a ledger and what comes of it: the first place that is not as it was sealed, in words."""

from typing import NamedTuple

from ledger.archive_folder import Folder
from ledger.settings import SEAL_KEY_FILE
from ledger.store.seal import Seal
from ledger.store.seal_head import SealHead

LOOK = "No event before it was altered. A backup, restored into another data_dir, tells what stood there."
UNSEALED = (
    "Where a version before seals wrote it, `verify --after POSITION` passes over it and checks what follows; else "
    "somebody put it in or removed its seal."
)
TAKEN_AGAIN = "an earlier event of its stream has the same version"
BACK = "Put the file back from a copy of the archive; the seals tell whether it is the right one."
BY_WRITER = "Both are as they were sealed: two wrote at once without the lock, or a defect did. Report it."


class Altered(NamedTuple):
    """The first position at which the ledger is not as it was sealed."""

    position: int
    what: str
    way_out: str = LOOK
    file: str | None = None
    """Of the archive, where it is that which differs."""


class KeyMissing(NamedTuple):
    """The first seal that cannot be checked, since its key is not here; nothing is known of what it seals."""

    key_id: bytes
    first: int
    last: int
    """Of the positions, from `first` on, the last one that the key sealed."""

    def __str__(self) -> str:
        return (
            f"The key {self.key_id.hex()}, which is not here, sealed positions from {self.first:,} to {self.last:,}.\n"
            "Add that key to seal_keys: the service that wrote them has it in its settings or in "
            f"{SEAL_KEY_FILE}."
        )


class Verified(NamedTuple):
    """What a walk over the ledger found: so many events and seals are as they were, up to `head`.

    It is intact where nothing was altered and no key is missing.
    """

    events: int
    seals: int
    head: SealHead
    altered: Altered | None
    missing: KeyMissing | None = None
    erased: int = 0
    """Positions among them whose events erasures have removed, as is on record."""
    files: int = 0
    """That the archive has."""

    @property
    def is_intact(self) -> bool | None:
        """None where that cannot be told without the missing key."""
        if self.altered is not None:
            return False
        return None if self.missing is not None else True


class Extent(NamedTuple):
    """What of the ledger is verified, and against what."""

    after: int | None = None
    """Only what comes after this position."""
    expected: SealHead | None = None
    """A head that the ledger once had, not before `after`."""
    archive: Folder | None = None
    """The folder of the archive's files; None: they are not looked at."""
    only_archive: bool = False
    """No further than the files go."""


EVERYTHING = Extent()


def broken(seal: Seal) -> str:
    """That a seal does not stand on the one before it."""
    run = f"{seal.first_position:,} to {seal.last_position:,}"
    return f"the chain of seals breaks: the seal of {run}, or one before it, was altered, removed or put in"


def unsealed(position: int, last: int) -> Altered:
    """What a row is that no seal covers; `last` is the position before it that was checked."""
    if 0 < position <= last:
        return twice(position)
    return Altered(position, "the event was never sealed", UNSEALED)


def twice(position: int) -> Altered:
    """That there is a row too many."""
    return Altered(position, "an event was put in: two have this position")
