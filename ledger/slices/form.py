"""The form of a slice: its lines as values, and the chain of checksums that runs through them."""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, NamedTuple, TypeAlias

import msgspec

from ledger.domain.crowd import encode_crowd
from ledger.domain.policy import Policy
from ledger.errors import LedgerError

FORMAT = 1

SUM_DIGITS = 16


LARGEST = 2**62
"""A ledger counts on from whatever it has imported, in integers of 63 bits."""

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]
"""A position or a version."""

Moment: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]


class SliceError(LedgerError):
    """A file is not a slice, or not whole, or of a newer version; the text names the line."""


class RecordedPosition(msgspec.Struct, frozen=True):
    """A position of the ledger, 0 before its first event, and when it was recorded."""

    position: Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
    recorded_at: Moment | None = None


class SliceHeader(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="header"):
    """The first line: of what the slice is. `from` is included, `to` is not."""

    format: int
    software_version: str
    rules_version: int
    """Of the rules of the software that made it; what judged its events its configurations say."""
    since: Moment | None = msgspec.field(name="from")
    until: Moment | None = msgspec.field(name="to")
    users: tuple[str, ...] | None
    """None: all of them, and all that their sources said."""
    pseudonymised: bool
    policies: dict[str, Policy]
    """Those in force at its end, by source."""
    began: RecordedPosition
    """The last event before it: the states that follow are as of there."""
    head: RecordedPosition
    """The ledger's last event when the slice was taken."""


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """A line that is an event, or stands for those before the slice."""

    position: Number
    stream: str
    version: Number
    event_kind: str
    recorded_at: Moment
    payload: msgspec.Raw
    """The very bytes that the ledger has."""


class StateLine(LedgerLine, frozen=True, kw_only=True, tag="state"):
    """The state of a user or a source where the slice begins: the event that carries it, in its last event's place."""


class EventLine(LedgerLine, frozen=True, kw_only=True, tag="event"):
    """An event."""


class SliceEnd(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="end"):
    """The last line: how many of each there were."""

    events: int
    states: int


AnyLine: TypeAlias = SliceHeader | StateLine | EventLine | SliceEnd


class Slice(NamedTuple):
    """A slice on its way: its lines come in the order of their positions, all states before all events."""

    header: SliceHeader
    lines: Iterable[LedgerLine]


_encode = msgspec.json.Encoder(enc_hook=encode_crowd).encode
_decode = msgspec.json.Decoder(AnyLine).decode

_SUM = b',"sum":"%s"}'
_SUM_LENGTH = len(_SUM % (b"0" * SUM_DIGITS))


class ChecksumChain:
    """The checksums: each is SHA-256 over the one before and its line without it, cut to its first digits.

    They find what was altered by mistake or without care, and name its line; that somebody recomputed them, only the
    seals of the ledger show.
    """

    def __init__(self) -> None:
        self._last = b""

    def summed(self, line: SliceHeader | LedgerLine | SliceEnd) -> bytes:
        """The line's bytes with its checksum, without the line break."""
        body = _encode(line)
        return body[:-1] + _SUM % self._next(body)

    def read(self, text: bytes) -> AnyLine | None:
        """The next line's value; None where its checksum is not right. Raises msgspec.DecodeError."""
        body = text[:-_SUM_LENGTH] + b"}"
        if text[-_SUM_LENGTH:] != _SUM % self._next(body):
            return None
        line: AnyLine = _decode(body)
        return line

    def _next(self, body: bytes) -> bytes:
        self._last = hashlib.sha256(self._last + body).hexdigest()[:SUM_DIGITS].encode()
        return self._last
