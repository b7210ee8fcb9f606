"""Writes a file under a temporary name beside its own, so that its own name never stands for a part of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ledger.errors import LedgerError
from ledger.store.data_folder import sync_folder


class FileUnusable(LedgerError):
    """A file that a command was given cannot be read or written."""


@contextmanager
def replacing(path: Path, mode: int) -> Iterator[BinaryIO]:
    """A file to write to, which takes its name, durably, when all went well. Raises FileUnusable."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb+") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
            sync_folder(path.parent)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise unusable(path, error) from error


def unusable(path: Path, error: OSError) -> FileUnusable:
    """What an error of the file system means to whoever named the file."""
    return FileUnusable(
        f"{path} cannot be used: {error.strerror or error}.\nName another file, or mend this one's place."
    )
