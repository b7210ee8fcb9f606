"""Events of the archive as the very bytes that PostgreSQL sends by COPY, and back. No I/O."""

import struct
from typing import NamedTuple

from ledger.store.raw_events import Row

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""Begins what is sent to a COPY … FROM STDIN (FORMAT BINARY)."""
END = b"\xff\xff"

_HEAD = struct.Struct("!hiqiqiqi")
"""The number of fields; position, `recorded_at` and version, each after its length; the length of the stream."""
_LENGTH = struct.Struct("!i")


class EventRow(NamedTuple):
    """An event in the order of the columns that `raw_events` reads; `recorded_at` as `seal.microseconds` has it."""

    position: int
    recorded_at: int
    version: int
    stream: str
    kind: str
    payload: bytes


def unpack(row: Row) -> EventRow:
    """The event of a row as PostgreSQL sends it."""
    _, _, position, _, recorded_at, _, version, length = _HEAD.unpack_from(row)
    data = bytes(row)
    end = _HEAD.size + length
    stream = data[_HEAD.size : end].decode()
    (length,) = _LENGTH.unpack_from(data, end)
    start = end + _LENGTH.size
    end = start + length
    return EventRow(position, recorded_at, version, stream, data[start:end].decode(), data[end + _LENGTH.size :])


def pack(event: EventRow) -> bytes:
    """The row of an event as PostgreSQL sends it."""
    position, recorded_at, version, stream, kind, payload = event
    named, of_kind, length = stream.encode(), kind.encode(), _LENGTH.pack
    head = _HEAD.pack(6, 8, position, 8, recorded_at, 8, version, len(named))
    return b"".join((head, named, length(len(of_kind)), of_kind, length(len(payload)), payload))
