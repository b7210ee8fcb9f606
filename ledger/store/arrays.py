"""PostgreSQL arrays in binary, packed here: psycopg dumps a list element by element in Python, at twice the cost."""

import struct
from collections.abc import Iterable, Sequence
from itertools import chain, repeat

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

BIGINT, BYTEA, TEXT = 20, 17, 25
"""Object ids of the element types."""

_HEADER = struct.Struct("!iiIii").pack
_LENGTH = struct.Struct("!i").pack
_BIGINT = struct.Struct("!iq").pack
_NULL = _LENGTH(-1)
_SHORT = tuple(_LENGTH(length) for length in range(4096))


class BigintArray(bytes):
    """A packed `bigint[]`."""


class ByteaArray(bytes):
    """A packed `bytea[]`."""


class TextArray(bytes):
    """A packed `text[]`."""


def bigints(values: Sequence[int]) -> BigintArray:
    """Pack numbers of 64 bits with a sign."""
    return BigintArray(_header(BIGINT, len(values)) + b"".join(map(_BIGINT, repeat(8), values)))


def byteas(values: Sequence[bytes]) -> ByteaArray:
    """Pack byte strings."""
    return ByteaArray(_header(BYTEA, len(values)) + _packed(values))


def texts(values: Sequence[str]) -> TextArray:
    """Pack texts that hold neither NUL nor lone surrogates."""
    return TextArray(_header(TEXT, len(values)) + _packed([value.encode() for value in values]))


def words(values: Sequence[str]) -> TextArray:
    """The same of texts of which there are few, each many times."""
    return TextArray(_header(TEXT, len(values)) + b"".join(map(_encoded(values).__getitem__, values)))


def optional_words(values: Sequence[str | None]) -> TextArray:
    """The same where some may be missing."""
    encoded: dict[str | None, bytes] = {None: _NULL} | _encoded({value for value in values if value is not None})
    return TextArray(_header(TEXT, len(values), nulls=True) + b"".join(map(encoded.__getitem__, values)))


def _encoded(values: Iterable[str]) -> dict[str, bytes]:
    return {value: _LENGTH(len(encoded := value.encode())) + encoded for value in set(values)}


def optional_bigints(values: Sequence[int | None]) -> BigintArray:
    """The same of numbers some of which may be missing."""
    packed = [_NULL if value is None else _BIGINT(8, value) for value in values]
    return BigintArray(_header(BIGINT, len(values), nulls=True) + b"".join(packed))


def _header(element: int, length: int, *, nulls: bool = False) -> bytes:
    if not length:
        return _HEADER(0, 0, element, 0, 1)[:12]
    return _HEADER(1, nulls, element, length, 1)


def _packed(values: Sequence[bytes]) -> bytes:
    lengths: Iterable[bytes] = (_SHORT[n] if n < len(_SHORT) else _LENGTH(n) for n in map(len, values))
    return b"".join(chain.from_iterable(zip(lengths, values, strict=True)))


class _PackedDumper(Dumper):
    """Sends what is packed already."""

    format = Format.BINARY

    def dump(self, obj: bytes) -> Buffer:
        return obj


class _BigintArrayDumper(_PackedDumper):
    oid = 1016


class _ByteaArrayDumper(_PackedDumper):
    oid = 1001


class _TextArrayDumper(_PackedDumper):
    oid = 1009


psycopg.adapters.register_dumper(BigintArray, _BigintArrayDumper)
psycopg.adapters.register_dumper(ByteaArray, _ByteaArrayDumper)
psycopg.adapters.register_dumper(TextArray, _TextArrayDumper)
