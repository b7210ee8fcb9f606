"""Reads WHATWG's event stream: bytes as they come in, events with the reader's cursor out."""

from typing import Any, NamedTuple

import msgspec

from ledger.client.errors import NotPresenceLedger
from ledger.client.values import Gone, Heartbeat, Presence, Ready, Resumed, Said, SourceChange, Told

_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "resumed": msgspec.json.Decoder(Resumed),
    "presence": msgspec.json.Decoder(Presence),
    "ready": msgspec.json.Decoder(Ready),
    "heartbeat": msgspec.json.Decoder(Heartbeat),
    "gone": msgspec.json.Decoder(Gone),
    "source": msgspec.json.Decoder(SourceChange),
}

MAX_LINE_BYTES = 8 * 1_048_576
"""No presence is as long."""


class RawEvent(NamedTuple):
    """One event, not yet decoded, and the cursor after it."""

    event: str
    data: bytes
    cursor: str | None


class EventStreamReader:
    """The parser of one connection; `cursor` is the last id that came, on this one or one before."""

    def __init__(self, cursor: str | None = None) -> None:
        self.cursor = cursor
        self.retry_seconds: float | None = None
        """When the service would have its reader come again."""
        self._rest = b""
        self._event = ""
        self._data: list[bytes] = []
        self._id: str | None = None

    def feed(self, data: bytes) -> list[Told]:
        """What these bytes complete. Events of a kind that this client does not know are left out.

        Raises NotPresenceLedger where they are none of its events.
        """
        told: list[Told] = []
        for raw in self.split(data):
            decoder = _DECODERS.get(raw.event)
            if decoder is None:
                continue
            try:
                said: Said = decoder.decode(raw.data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise NotPresenceLedger(f"an event {raw.event!r} that is none of presence ledger's") from error
            told.append(Told(said, raw.cursor))
        return told

    def split(self, data: bytes) -> list[RawEvent]:
        """The same, not decoded."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise NotPresenceLedger("a line too long for an event stream")
        events: list[RawEvent] = []
        for line in lines:
            if line.rstrip(b"\r"):
                self._take(line.rstrip(b"\r"))
            else:
                events += self._end()
        return events

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"event":
                self._event = value.decode(errors="replace")
            case b"data":
                self._data.append(value)
            case b"id" if b"\0" not in value:
                self._id = value.decode(errors="replace")
            case b"retry" if value.isdigit():
                self.retry_seconds = int(value) / 1000

    def _end(self) -> list[RawEvent]:
        if self._id is not None:
            self.cursor = self._id or None
        event, data = self._event, self._data
        self._event, self._data, self._id = "", [], None
        return [RawEvent(event or "message", b"\n".join(data), self.cursor)] if data else []
