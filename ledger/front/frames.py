"""What a stream tells, encoded once for all who are told: as an event of WHATWG, and as an object of a WebSocket."""

from functools import cached_property, lru_cache
from typing import Any

import msgspec

from ledger.changes.cursor import Cursor
from ledger.changes.step import Change, Previous, SourceChange
from ledger.domain.instants import to_text
from projections.models.shown import AnswerPoint

_encode = msgspec.json.Encoder().encode


class Frame:
    """One event: its name, its data as JSON text, and the cursor of whoever has been told it, where it has one."""

    def __init__(self, event: str, data: bytes, cursor: str | None = None) -> None:
        self._event = event
        self._data = data
        self._cursor = cursor

    @cached_property
    def without_cursor(self) -> "Frame":
        """The same for whoever has not been told yet what came before it."""
        return Frame(self._event, self._data)

    @cached_property
    def sse(self) -> bytes:
        """As WHATWG's event stream has it; JSON holds no line breaks."""
        identified = b"" if self._cursor is None else b"id: %s\n" % self._cursor.encode()
        return b"%sevent: %s\ndata: %s\n\n" % (identified, self._event.encode(), self._data)

    @cached_property
    def ws(self) -> str:
        """As a WebSocket's text."""
        cursor = "null" if self._cursor is None else f'"{self._cursor}"'
        return f'{{"event":"{self._event}","id":{cursor},"data":{self._data.decode()}}}'


def as_of(made: AnswerPoint, epoch: str) -> dict[str, Any]:
    """The moment of an answer, in the ledger of that epoch."""
    return {"at": to_text(made.at), "position": made.position, "epoch": epoch}


def presence(body: bytes, made: AnswerPoint, cursor: Cursor, previous: Previous | None = None) -> Frame:
    """A presence as it is answered at a moment; `cursor`: up to where everything has been told before it.

    A reader who is cut off after it may know more than their cursor says, never less.
    """
    before = b"" if previous is None else _previous(previous)
    return Frame("presence", body + before + _end(made, cursor.epoch), _text(cursor))


def _previous(previous: Previous) -> bytes:
    since = "null" if previous.since is None else f'"{to_text(previous.since)}"'
    return f',"previous":{{"status":"{previous.status}","since":{since}}}'.encode()


@lru_cache(maxsize=8)
def _end(made: AnswerPoint, epoch: str) -> bytes:
    """The same of all that is told in one step."""
    return b',"as_of":' + _encode(as_of(made, epoch)) + b"}"


@lru_cache(maxsize=8)
def _text(cursor: Cursor) -> str:
    return cursor.text


def change(told: Change, made: AnswerPoint, cursor: Cursor) -> Frame:
    """A user of whom something else is shown now."""
    return presence(told.body, made, cursor, told.previous)


def source(told: SourceChange, cursor: Cursor) -> Frame:
    """A source that went dark, or is heard again."""
    data = {"source": told.source, "status": told.status, "since": to_text(told.since)}
    return Frame("source", _encode(data), cursor.text)


def gone(uid: str, cursor: Cursor) -> Frame:
    """A user who is no longer on the list."""
    return Frame("gone", _encode({"uid": uid}), cursor.text)


def resumed(made: AnswerPoint, cursor: Cursor, reason: str | None) -> Frame:
    """Whether what was missed is told now, or why it is not."""
    data = {"recovered": reason is None, "reason": reason, "as_of": as_of(made, cursor.epoch)}
    return Frame("resumed", _encode(data), cursor.text)


def ready(told: AnswerPoint, cursor: Cursor) -> Frame:
    """All has been told up to here, which is where the cursor is."""
    return Frame("ready", _encode({"as_of": as_of(told, cursor.epoch)}), cursor.text)


def heartbeat(told: AnswerPoint, epoch: str) -> Frame:
    """The same, now and then, so that whoever hears nothing knows that there is nothing; without a cursor."""
    return Frame("heartbeat", _encode({"as_of": as_of(told, epoch)}))


@lru_cache(maxsize=8)
def progress(cursor: Cursor) -> bytes:
    """What moves a reader's cursor without an event: a message of an id alone is not dispatched."""
    return b"id: %s\n\n" % cursor.text.encode()
