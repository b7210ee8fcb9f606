"""Files in the archive's folder that the ledger does not know: nobody reads them, and no erasure reaches them."""

from pathlib import Path
from typing import Any

from psycopg import Connection

from ledger.store.archive import table
from ledger.store.archive.manifest import PARTIAL, PATTERN


def found(connection: Connection[Any], folder: Path) -> list[str]:
    """Names of files that are neither of the archive nor left over of it, as where the ledger went back since.

    In order. Of a folder that is not there, none.
    """
    names = sorted(path.name for each in (PATTERN, f"{PATTERN}{PARTIAL}") for path in folder.glob(each))
    known = table.names(connection)
    # What has been removed meanwhile is not known any more.
    return [name for name in names if name.removesuffix(PARTIAL) not in known and (folder / name).exists()]
