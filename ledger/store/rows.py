"""Events on their way into the table `events`: collected column by column, packed and digested before the lock."""

from collections.abc import Iterator
from typing import NamedTuple

from ledger.store import seal
from ledger.store.arrays import BigintArray, ByteaArray, TextArray, bigints, byteas, texts, words

STATEMENT_BYTES = 8 * 1024 * 1024
"""Payload bytes of one INSERT at most; a larger append takes several in its one transaction."""


class PackedRows(NamedTuple):
    """The parameters of one INSERT: `number` events, packed, and their digests for the seal."""

    number: int
    streams: TextArray
    versions: BigintArray
    kinds: TextArray
    payloads: ByteaArray
    digests: bytes


class Rows:
    """Events in their order, column by column."""

    __slots__ = ("kinds", "payloads", "streams", "versions")

    def __init__(self) -> None:
        self.streams: list[str] = []
        self.versions: list[int] = []
        self.kinds: list[str] = []
        self.payloads: list[bytes] = []

    def add(self, stream: str, version: int, kind: str, payload: bytes) -> None:
        """One more event."""
        self.streams.append(stream)
        self.versions.append(version)
        self.kinds.append(kind)
        self.payloads.append(payload)

    def pack(self) -> list[PackedRows]:
        """The rows as the arrays of one INSERT each, which is work to be done before the lock is taken."""
        return [self._pack(start, stop) for start, stop in self._statements()]

    def _pack(self, start: int, stop: int) -> PackedRows:
        streams, versions = self.streams[start:stop], self.versions[start:stop]
        kinds, payloads = self.kinds[start:stop], self.payloads[start:stop]
        return PackedRows(
            stop - start,
            texts(streams),
            bigints(versions),
            words(kinds),
            byteas(payloads),
            seal.digests(streams, versions, kinds, payloads),
        )

    def _statements(self) -> Iterator[tuple[int, int]]:
        start = size = 0
        for number, payload in enumerate(self.payloads):
            size += len(payload)
            if size > STATEMENT_BYTES and number > start:
                yield start, number
                start, size = number, len(payload)
        if start < len(self.payloads):
            yield start, len(self.payloads)
