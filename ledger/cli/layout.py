"""Lays text out for the width that there is: no word and no instant is broken, what has no room goes below."""

import os
import re
from collections.abc import Iterator, Sequence
from typing import TextIO

GAP = 2
INDENT = "    "
FALLBACK_WIDTH = 80

_WIDE = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uff60"
_OPENING, _CLOSING = "（「『《“", "，。；：、！？）」』》”…"
_WORD = re.compile(
    rf"[{_OPENING}]*(?:"
    r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d[^\s，。；、）]*"  # an instant
    r"|`[^`\n]*`"  # a command to copy
    r"|\d[\d,.]* (?:ms|s|min|h|d)\b"  # a length of time
    rf"|[{_WIDE}]|[^\s{_WIDE}]+)[{_CLOSING}]*"
)


def width(stream: TextIO) -> int | None:
    """How many cells a line has: COLUMNS, else the terminal's; None where neither bounds it."""
    named = os.environ.get("COLUMNS", "")
    if named.isascii() and named.isdigit() and int(named) > 0:
        return int(named)
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or FALLBACK_WIDTH
    except (OSError, ValueError):
        return FALLBACK_WIDTH


def cells_of(text: str) -> int:
    """How many cells a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415  (most texts need none of it)

    return cell_len(text)


def wrapped(text: str, most: int | None, hanging: str = "  ") -> list[str]:
    """A line as lines of at most so many cells; those after the first begin as it does, and with `hanging`.

    A word that is longer has a line of its own.
    """
    if most is None or cells_of(text) <= most:
        return [text]
    margin = text[: len(text) - len(text.lstrip(" "))]
    lines, line = [], margin
    for gap, word in _words(text[len(margin) :]):
        if cells_of(line + gap + word) > most and line.strip():
            lines.append(line)
            line = margin + hanging + word
        else:
            line += gap + word
    return [*lines, line]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], most: int | None) -> Iterator[str]:
    """Rows under their columns, aligned by what is seen; the first line is the columns' names.

    Where not all columns have room, those of the end stand below each row, each with its name.
    """
    widths = [max(cells_of(line[index]) for line in (columns, *rows)) for index in range(len(columns))]
    beside = _fitting(widths, most)
    yield _aligned(columns[:beside], widths)
    for row in rows:
        yield _aligned(row[:beside], widths)
        yield from _below(columns[beside:], row[beside:], most)


def _words(text: str) -> Iterator[tuple[str, str]]:
    """Each word, with the blanks before it."""
    end = 0
    for match in _WORD.finditer(text):
        yield text[end : match.start()], match.group()
        end = match.end()


def _fitting(widths: Sequence[int], most: int | None) -> int:
    """How many of the columns have room beside each other, one at least."""
    if most is None:
        return len(widths)
    taken = 0
    for number, each in enumerate(widths):
        taken += each + (GAP if number else 0)
        if taken > most:
            return max(1, number)
    return len(widths)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (value + " " * (each - cells_of(value)) for value, each in zip(cells, widths, strict=False))
    return (" " * GAP).join(padded).rstrip()


def _below(columns: Sequence[str], cells: Sequence[str], most: int | None) -> Iterator[str]:
    """What has no room beside the others: in as few lines as hold whole cells."""
    line = ""
    for name, value in zip(columns, cells, strict=True):
        if value.strip() in {"", "-"}:
            continue
        told = f"{name}: {value}"
        if line and most is not None and cells_of(line) + 3 + cells_of(told) <= most:
            line += f"   {told}"
            continue
        if line:
            yield from wrapped(line, most)
        line = INDENT + told
    if line:
        yield from wrapped(line, most)
