"""Seals: the digest of an event, and the HMAC over a run of them that makes any change of the ledger visible. No I/O.

The digest of an event is the SHA-256 of its version, stream, kind and payload, each as four bytes of length and its own
bytes: no field runs into the next, and these are the very bytes of a row that PostgreSQL sends by binary COPY. It is
known before the commit lock is taken. Position and `recorded_at`, which only the lock gives, are under the seal.
"""

import hashlib
import hmac
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import repeat
from typing import NamedTuple

DIGEST_BYTES = 32

NO_SEAL = bytes(DIGEST_BYTES)
"""Stands where the first seal needs the one before it."""

RUN_EVENTS = 65_536
"""A run that has as many is closed, so that a reconnect storm's seal is neither built nor checked in one piece."""

_KEY_ID = b"presence ledger seal key"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_LENGTH = struct.Struct("!i").pack
_VERSION_AND_LENGTH = struct.Struct("!iqi").pack
_SEALED = struct.Struct("!qqq").pack


@dataclass(frozen=True)
class SealKey:
    """A key, known by the id that each of its seals carries."""

    text: str = field(repr=False)

    @cached_property
    def secret(self) -> bytes:
        return self.text.encode()

    @cached_property
    def id(self) -> bytes:
        """Eight bytes that name the key and tell nothing of it."""
        return hmac.digest(self.secret, _KEY_ID, "sha256")[:8]


SealKeys = Mapping[bytes, SealKey]
"""The keys that seals are checked with, by id, the newest first."""


class Seal(NamedTuple):
    """The seal of a run: consecutive positions with one `recorded_at`, the 32 bytes of each event's digest in order."""

    first_position: int
    last_position: int
    recorded_at: int
    """As `microseconds` gives it."""
    key_id: bytes
    digests: bytes
    seal: bytes

    def follows(self, previous: bytes, key: SealKey) -> bool:
        """Whether it is the seal that this key makes of its run on top of the seal `previous`."""
        made = _seal(key, previous, self.first_position, self.last_position, self.recorded_at, self.digests)
        return hmac.compare_digest(made, self.seal)


def seal_keys(texts: Iterable[str]) -> SealKeys:
    """The keys with these texts, in their order."""
    return {key.id: key for key in map(SealKey, texts)}


def digests(streams: Sequence[str], versions: Sequence[int], kinds: Sequence[str], payloads: Sequence[bytes]) -> bytes:
    """The digests of events, in their order."""
    sha256, length, join = hashlib.sha256, _LENGTH, b"".join
    named = {kind: _prefixed(kind.encode()) for kind in set(kinds)}
    encoded = [stream.encode() for stream in streams]
    heads = map(_VERSION_AND_LENGTH, repeat(8), versions, map(len, encoded))
    return join(
        [
            sha256(join((head, stream, named[kind], length(len(payload)), payload))).digest()
            for head, stream, kind, payload in zip(heads, encoded, kinds, payloads, strict=True)
        ]
    )


def _seal(key: SealKey, previous: bytes, first: int, last: int, recorded_at: int, run_digests: bytes) -> bytes:
    message = previous + _SEALED(first, last, recorded_at) + key.id + run_digests
    return hmac.digest(key.secret, message, "sha256")


def microseconds(instant: datetime) -> int:
    """Microseconds since the year 2000, as PostgreSQL counts them."""
    return (instant - _EPOCH) // _MICROSECOND


def instant_from_count(counted: int) -> datetime:
    """The instant that `microseconds` counted."""
    return _EPOCH + counted * _MICROSECOND


class SealChain:
    """Seals what a commit appends, run by run, each on top of the seal before it."""

    def __init__(self, key: SealKey, previous: bytes | None) -> None:
        self._key = key
        self._previous = previous or NO_SEAL
        self._first = 0
        self._recorded_at = 0
        self._digests = bytearray()

    def add(self, first: int, recorded_at: datetime, appended: bytes) -> Seal | None:
        """Take the digests of events from position `first` on -> the seal of the run before, if that ends here."""
        at, ended = microseconds(recorded_at), None
        going_on = first == self._first + len(self._digests) // DIGEST_BYTES and at == self._recorded_at
        if not going_on or len(self._digests) >= RUN_EVENTS * DIGEST_BYTES:
            ended = self.end()
            self._first, self._recorded_at = first, at
        self._digests += appended
        return ended

    def end(self) -> Seal | None:
        """The seal of the run that is open, None where there is none."""
        if not self._digests:
            return None
        run, first = bytes(self._digests), self._first
        last = first + len(run) // DIGEST_BYTES - 1
        self._previous = made = _seal(self._key, self._previous, first, last, self._recorded_at, run)
        self._digests.clear()
        return Seal(first, last, self._recorded_at, self._key.id, run, made)


def _prefixed(value: bytes) -> bytes:
    return _LENGTH(len(value)) + value
