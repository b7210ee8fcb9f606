"""The form of a spool file: what is written, and what is found in bytes that were cut off or altered. Pure.

A file begins with two copies of its header, and records follow it. Each has a mark, its length, and checksums that
begin with the file's random salt: so no body can look like a record, and behind a damaged one the next is found.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from ledger.domain.observation import Instant

MAGIC = b"PLSPOOL1"
SALT_BYTES = 16
MAX_LEDGER_BYTES = 64

_MARK = b"\xf7PLR"
_HEAD = struct.Struct("<4sII")
"""Mark, bytes of the payload, checksum of both."""
_CHECKSUM = struct.Struct("<I")
_FILE_HEAD = struct.Struct(f"<8s{SALT_BYTES}s{MAX_LEDGER_BYTES}s")
_COPY_BYTES = _FILE_HEAD.size + _CHECKSUM.size

FILE_HEAD_BYTES = 2 * _COPY_BYTES
RECORD_BYTES = _HEAD.size + _CHECKSUM.size
"""What a record takes besides its payload."""


class SpooledWebhook(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A webhook as it was received, before it was looked into."""

    delivery: str
    source: str
    node: str
    received_at: Instant
    body: bytes


class FileHead(NamedTuple):
    """Which ledger a file is for, and the salt of its checksums."""

    ledger: str
    salt: bytes


class Found(NamedTuple):
    """A record that is whole; it ends before the byte `end`."""

    webhook: SpooledWebhook
    end: int


class Damaged(NamedTuple):
    """Bytes that are no record; nothing whole follows one that `is_tail`."""

    begin: int
    end: int
    is_tail: bool


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SpooledWebhook).decode


def file_head(head: FileHead) -> bytes:
    """The bytes that a file begins with."""
    copy = _FILE_HEAD.pack(MAGIC, head.salt, head.ledger.encode()[:MAX_LEDGER_BYTES])
    copy += _CHECKSUM.pack(zlib.crc32(copy))
    return copy * 2


def read_file_head(data: bytes) -> FileHead | None:
    """The head of a file; None where neither copy of it is whole."""
    for begin in (0, _COPY_BYTES):
        copy = data[begin : begin + _COPY_BYTES]
        if len(copy) == _COPY_BYTES and _CHECKSUM.unpack(copy[_FILE_HEAD.size :])[0] == zlib.crc32(
            copy[: _FILE_HEAD.size]
        ):
            magic, salt, ledger = _FILE_HEAD.unpack(copy[: _FILE_HEAD.size])
            if magic == MAGIC:
                return FileHead(ledger.rstrip(b"\0").decode(errors="replace"), salt)
    return None


def record(salt: bytes, webhook: SpooledWebhook) -> bytes:
    """The bytes of one record."""
    payload = _encode(webhook)
    begin = _MARK + struct.pack("<I", len(payload))
    checked = zlib.crc32(begin, zlib.crc32(salt))
    return begin + _CHECKSUM.pack(checked) + payload + _CHECKSUM.pack(zlib.crc32(payload, checked))


def records(salt: bytes, data: bytes, begin: int = 0) -> Iterator[Found | Damaged]:
    """What is found in the records of a file, in their order, from that byte on."""
    while begin < len(data):
        found = _at(salt, data, begin)
        if found is not None:
            yield found
            begin = found.end
            continue
        following = _next(salt, data, begin + 1)
        yield Damaged(begin, len(data) if following is None else following, is_tail=following is None)
        if following is None:
            return
        begin = following


def _next(salt: bytes, data: bytes, begin: int) -> int | None:
    """Where the next whole record begins."""
    while (begin := data.find(_MARK, begin)) >= 0:
        if _at(salt, data, begin) is not None:
            return begin
        begin += 1
    return None


def _at(salt: bytes, data: bytes, begin: int) -> Found | None:
    """The record that begins there, if it is whole."""
    if len(data) - begin < RECORD_BYTES:
        return None
    mark, size, checksum = _HEAD.unpack_from(data, begin)
    first = begin + _HEAD.size
    if mark != _MARK or checksum != zlib.crc32(data[begin : begin + 8], zlib.crc32(salt)):
        return None
    end = first + size + _CHECKSUM.size
    if end > len(data):
        return None
    payload = data[first : first + size]
    if _CHECKSUM.unpack_from(data, first + size)[0] != zlib.crc32(payload, checksum):
        return None
    try:
        return Found(_decode(payload), end)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
