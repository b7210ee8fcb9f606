"""Writing a slice to a file: under another name until it is whole, readable by nobody else, gzip by its suffix."""

import gzip
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from ledger.errors import LedgerError
from ledger.slices.form import Chain, End, Slice, StateLine
from ledger.store.data_folder import sync_folder

STDOUT = Path("-")


class Written(NamedTuple):
    """How many lines of each kind a slice has."""

    events: int
    states: int


def write(taken: Slice, stream: BinaryIO) -> Written:
    """Write a slice's lines as they come."""
    chain = Chain()
    events = states = 0
    stream.write(chain.summed(taken.header) + b"\n")
    for line in taken.lines:
        if isinstance(line, StateLine):
            states += 1
        else:
            events += 1
        stream.write(chain.summed(line) + b"\n")
    stream.write(chain.summed(End(events=events, states=states)) + b"\n")
    return Written(events, states)


@contextmanager
def opened(target: Path, *, force: bool) -> Iterator[BinaryIO]:
    """The stream of a file that is there only once everything is in it. Raises LedgerError.

    `-` is standard output. One that is there already is replaced with `force` alone.
    """
    if target == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if target.exists() and not force:
        raise _exists(target)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with _draft(draft, compressed=target.suffix == ".gz") as stream:
            yield stream
        _put(draft, target, force=force)
        sync_folder(target.parent)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise LedgerError(
            f"{target} cannot be written: {error.strerror or error}.\n"
            "Name a file in a folder that has room and that you may write to."
        ) from error
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _draft(path: Path, *, compressed: bool) -> Iterator[BinaryIO]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb", buffering=1 << 20) as file:
        if compressed:
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as stream:
                yield cast(BinaryIO, stream)
        else:
            yield file
        file.flush()
        os.fsync(file.fileno())


def _put(draft: Path, target: Path, *, force: bool) -> None:
    if force:
        draft.replace(target)
        return
    try:
        # A link, unlike a rename, never replaces what somebody has put there meanwhile.
        target.hardlink_to(draft)
    except FileExistsError:
        raise _exists(target) from None


def _exists(target: Path) -> LedgerError:
    return LedgerError(f"{target} is there already.\nName another file, or replace that one with --force.")
