"""Reads files line by line, with a bound on the length of a line."""

from collections.abc import Iterator
from typing import BinaryIO

MIB = 1_048_576

MAX_LINE_BYTES = 128 * MIB
"""Well above the largest event: whatever a node says of 300,000 connections, or a webhook brings, takes less."""


class LineTooLong(Exception):
    """A line has no end within the bound; `number` counts from 1."""

    def __init__(self, number: int) -> None:
        super().__init__(f"line {number} is longer than {MAX_LINE_BYTES // MIB} MiB")
        self.number = number


def bounded_lines(stream: BinaryIO) -> Iterator[bytes]:
    """The lines as they are, with their breaks. Raises LineTooLong, what reading raises."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise LineTooLong(number)
        yield line
