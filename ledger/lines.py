"""Reads files line by line, none of them longer than anything that was ever written into one."""

from collections.abc import Iterator
from typing import BinaryIO

MIB = 1_048_576

LONGEST_LINE = 128 * MIB
"""Well above the largest event: whatever a node says of 300,000 connections, or a webhook brings, takes less."""


class LineTooLong(Exception):
    """A line has no end within the bound; `number` counts from 1."""

    def __init__(self, number: int) -> None:
        super().__init__(f"line {number} is longer than {LONGEST_LINE // MIB} MiB")
        self.number = number


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """The lines as they are, with their breaks. Raises LineTooLong, what reading raises."""
    number = 0
    while line := stream.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise LineTooLong(number)
        yield line
