"""Writes a file under a temporary name next to its own, so that its own name never stands for a part of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ledger.errors import LedgerError
from ledger.files import replacement
from ledger.store.data_folder import sync_folder


class FileUnusable(LedgerError):
    """A file that a command was given cannot be read or written."""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file for nobody but its owner to write to, which takes its name, durably, when all went well.

    A link at that name is replaced, never followed. Raises FileUnusable.
    """
    try:
        if path.exists() and not path.is_file():
            raise FileUnusable(f"{path} is not a regular file, so it cannot be replaced.\nName another file.")
        with replacement(path) as file:
            yield file
        sync_folder(path.parent)
    except OSError as error:
        raise unusable(path, error) from error


def unusable(path: Path, error: OSError) -> FileUnusable:
    """What an error of the file system means to the user who named the file."""
    return FileUnusable(
        f"{path} cannot be used: {error.strerror or error}.\nName another file, or fix this one's folder."
    )
