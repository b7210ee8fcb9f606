"""Reading a slice from its file, line by line, each checked; the first that is not right is named."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import msgspec

from ledger.lines import LineTooLong, bounded_lines
from ledger.slices.form import (
    FORMAT,
    AnyLine,
    ChecksumChain,
    LedgerLine,
    Slice,
    SliceEnd,
    SliceError,
    SliceHeader,
    StateLine,
)
from ledger.store.replacing import unusable
from ledger.text import counted

GZIP = b"\x1f\x8b"

BEGIN = b'{"kind":"header"'

PEEKED = len(BEGIN)

NEXT = "Nothing of it was used; export it again."


class Numbered(NamedTuple):
    """A line's value with its number, from 1."""

    number: int
    line: LedgerLine


class _Peek(msgspec.Struct):
    """What tells a slice from anything else, and its version."""

    kind: str
    format: int = 0


class SliceFile:
    """A slice's file. Each pass over its lines checks them again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._opened() as stream:
            line = next(self._texts(stream), b"")
            self.header = self._header(line)

    def slice(self) -> Slice:
        """Its header and its lines."""
        return Slice(self.header, (each.line for each in self.lines()))

    def lines(self) -> Iterator[Numbered]:
        """The states and events with the numbers of their lines. Raises SliceError at the first that is not right."""
        chain = ChecksumChain()
        end: SliceEnd | None = None
        numbers = [0, 0]
        with self._opened() as stream:
            number = 0
            for number, text in enumerate(self._texts(stream), 1):
                line = self._line(chain, number, text)
                if end is not None:
                    raise self.wrong(number, "comes after the end line")
                if isinstance(line, SliceHeader):
                    if number > 1:
                        raise self.wrong(number, "is a second header")
                elif isinstance(line, SliceEnd):
                    end = line
                else:
                    numbers[isinstance(line, StateLine)] += 1
                    yield Numbered(number, line)
            if end is None:
                raise self.wrong(number, "is the last one, but not an end line: the file was truncated")
            if [end.events, end.states] != numbers:
                what = f"{_counted(end.events, end.states)}, but the file has {_counted(*numbers)}"
                raise self.wrong(number, f"counts {what}")

    def wrong(self, number: int, why: str) -> SliceError:
        """What is wrong with a line."""
        return SliceError(f"{self.path}: line {number} {why}.\n{NEXT}")

    def _none(self) -> SliceError:
        return SliceError(
            f"{self.path}: not a slice file: line 1 is not a header.\n`presence-ledger export FILE` makes a slice."
        )

    def _line(self, chain: ChecksumChain, number: int, text: bytes) -> AnyLine:
        try:
            line = chain.read(text)
        except msgspec.DecodeError as error:
            raise self.wrong(number, f"is not a line of a slice ({error})") from error
        except RecursionError:
            raise self.wrong(number, "is nested too deeply") from None
        if line is None:
            raise self.wrong(number, "was altered, or a line before it is missing: its checksum does not match")
        return line

    def _header(self, text: bytes) -> SliceHeader:
        try:
            peeked = msgspec.json.decode(text, type=_Peek)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            peeked = _Peek("")
        if peeked.kind != "header" or not peeked.format:
            raise self._none()
        if peeked.format > FORMAT:
            raise SliceError(
                f"{self.path}: line 1 says that its format is {peeked.format}, and this version reads {FORMAT}.\n"
                "Upgrade presence ledger."
            )
        line = self._line(ChecksumChain(), 1, text)
        if not isinstance(line, SliceHeader):
            raise self.wrong(1, "is not a header")
        return line

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        try:
            with self.path.open("rb") as file:
                is_gzip = file.read(2) == GZIP
                file.seek(0)
                yield cast(BinaryIO, gzip.GzipFile(fileobj=file)) if is_gzip else file
        except OSError as error:
            raise unusable(self.path, error) from error

    def _texts(self, stream: BinaryIO) -> Iterator[bytes]:
        """The file's lines; one without a line break was cut."""
        number = 0
        try:
            for number, text in enumerate(bounded_lines(stream), 1):
                if not text.endswith(b"\n"):
                    if number == 1 and not (text.startswith(BEGIN) or BEGIN.startswith(text)):
                        raise self._none()
                    raise self.wrong(number, "ends in the middle: the file was truncated")
                yield text[:-1]
        except LineTooLong as error:
            raise SliceError(f"{self.path}: {error}, too long for a slice.\n{NEXT}") from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise self.wrong(number + 1, "cannot be decompressed: the file was truncated or altered") from error


def _counted(events: int, states: int) -> str:
    return f"{counted(events, 'event')} and {counted(states, 'state')}"


def is_slice(path: Path) -> bool:
    """Whether a file begins as a slice does, whatever follows; False as well where it cannot be read."""
    try:
        with path.open("rb") as file:
            first = file.read(PEEKED)
    except OSError:
        return False
    return first.startswith((GZIP, BEGIN))
