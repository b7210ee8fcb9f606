"""Writing a slice to a file: under another name until it is whole, readable by nobody else, gzip by its suffix."""

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from ledger.lines import MAX_LINE_BYTES
from ledger.slices.form import ChecksumChain, Slice, SliceEnd, SliceError, StateLine
from ledger.store.replacing import FileUnusable, replacing

STDOUT = Path("-")


class LinesWritten(NamedTuple):
    """How many lines of each kind a slice has."""

    events: int
    states: int


def write(slice_: Slice, stream: BinaryIO) -> LinesWritten:
    """Write a slice's lines as they come."""
    chain = ChecksumChain()
    events = states = 0
    stream.write(chain.summed(slice_.header) + b"\n")
    for line in slice_.lines:
        if isinstance(line, StateLine):
            states += 1
        else:
            events += 1
        text = chain.summed(line) + b"\n"
        if len(text) > MAX_LINE_BYTES:
            raise SliceError(f"The event at position {line.position} is too long for a slice.\nExport without it.")
        stream.write(text)
    stream.write(chain.summed(SliceEnd(events=events, states=states)) + b"\n")
    return LinesWritten(events, states)


@contextmanager
def opened(target: Path, *, force: bool) -> Iterator[BinaryIO]:
    """The stream of a file that is there only once everything is in it; `-` is standard output. Raises LedgerError.

    A file that is there already is replaced with `force` alone.
    """
    if target == STDOUT:
        # What is in it may come from anybody, and its checksums hold for it exactly as it is.
        if sys.stdout.isatty():
            raise FileUnusable("Standard output is a terminal.\nName a file, or pass the slice on to a program.")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if target.exists() and not force:
        raise FileUnusable(f"{target} already exists.\nName another file, or replace that one with --force.")
    with replacing(target) as file:
        if target.suffix == ".gz":
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as stream:
                yield cast(BinaryIO, stream)
        else:
            yield file
