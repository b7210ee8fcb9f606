"""Files in the archive's folder that the ledger does not know: nobody reads them, and no erasure reaches them."""

from fnmatch import fnmatchcase
from typing import Any

from psycopg import Connection

from ledger.archive_folder import Folder
from ledger.errors import LedgerError
from ledger.store.archive import table
from ledger.store.archive.manifest import PARTIAL, PATTERN


class ArchiveUnlisted(LedgerError):
    """It cannot be told what is in the archive's folder."""


def found(connection: Connection[Any], folder: Folder) -> list[str]:
    """Names of files that are neither of the archive nor left over of it, as where the ledger went back since.

    In order. Of a folder that is not there, none. Raises ArchiveUnlisted.
    """
    # Only who looks into the archive needs its library, which is large.
    from ledger.store.archive import storage  # noqa: PLC0415

    there = storage.of(folder)
    try:
        names, known = there.names(), table.names(connection)
        unknown = [name for name in names if _is_ours(name) and name.removesuffix(PARTIAL) not in known]
        # What has been removed meanwhile is not known any more.
        return sorted({*unknown}.intersection(there.names())) if unknown else []
    except OSError as error:
        raise ArchiveUnlisted(
            f"The archive's files are intact, but {folder} cannot be listed: {error.strerror or error}.\n"
            "Grant the right to list it (of a bucket ListBucket), to see whether files are there that nobody knows."
        ) from error


def _is_ours(name: str) -> bool:
    return fnmatchcase(name.removesuffix(PARTIAL), PATTERN)
