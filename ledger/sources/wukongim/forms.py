"""The forms of WuKongIM's answers as every version sends them, decoded within bounds: what lacks a part has no form."""

from typing import Annotated, Literal, NamedTuple, TypeVar

import msgspec

from ledger.domain.observation import MAX_DEVICE_FLAG, MAX_NUMBER
from ledger.text import printable

MIB = 1_048_576

VARZ_BYTES = 65_536
"""An answer of `/varz` has less than a kilobyte."""

METRICS_BYTES = 4 * MIB
"""All that a server measures, of which one line is read."""

CONNECTIONS_BYTES = 256 * MIB
"""A million rows of `/connz`, ten times the largest node we know of; a larger body would endanger the service."""

MAX_CONNECTIONS = 1_000_000
"""Rows of one page. Each takes some hundred bytes while it is read, and the shortest one as many in the body."""

STATUS_BYTES, STATUS_ROWS_A_USER, STATUS_ROW_BYTES = 4 * MIB, 16, 64
"""What an answer about users may have in any case, and the rows of each of them next to it, without the uid."""

ERROR_BYTES = 65_536
"""Enough for a message; of a longer error the rest is not read."""

T = TypeVar("T")

Number = Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]


class NoForm(NamedTuple):
    """Why a body says nothing, in words."""

    reason: str


class StatusRow(msgspec.Struct, gc=False):
    """A connection that is online, as `POST /user/onlinestatus` tells of it."""

    uid: str
    device_flag: Annotated[int, msgspec.Meta(ge=0, le=MAX_DEVICE_FLAG)]
    online: Literal[1]


class ConnectionRow(msgspec.Struct, gc=False):
    """A connection as `GET /connz` tells of it; v1 and early v2 name neither leader nor node.

    What nobody needs is here all the same: a row without it is of no version, and is believed nothing.
    """

    id: Number
    uid: str
    ip: str
    port: int
    last_activity: str
    uptime: str
    idle: str
    device: str
    device_id: str
    version: int
    node_id: Number | None = None


class ConnectionPage(msgspec.Struct, gc=False):
    """A page of `GET /connz`. `total` counts the node's sockets, those that have not logged in included."""

    connections: list[ConnectionRow]
    total: Number
    offset: Number
    limit: Number


class Varz(msgspec.Struct, gc=False):
    """The part of `GET /varz` that every version has."""

    server_id: str
    version: str
    connections: Number
    uptime: str


class _Error(msgspec.Struct, gc=False):
    msg: str = ""


_rows = msgspec.json.Decoder(list[StatusRow] | None)
_page = msgspec.json.Decoder(ConnectionPage)
_varz = msgspec.json.Decoder(Varz)
_error = msgspec.json.Decoder(_Error)


def status_bytes(content: bytes, users: int) -> int:
    """How long an answer about these users may be, `content` being the question."""
    return STATUS_BYTES + STATUS_ROWS_A_USER * (len(content) + STATUS_ROW_BYTES * users)


def read_status_rows(body: bytes) -> list[StatusRow] | NoForm:
    """The rows of `/user/onlinestatus`; `null` is Go's empty list."""
    found: list[StatusRow] | NoForm | None = _decode(_rows, body, "not a list of rows")
    return [] if found is None else found


def read_connection_page(body: bytes) -> ConnectionPage | NoForm:
    """A page of `/connz`."""
    # Before decoding, which would hold them all: the braces are those of the rows, of the page and of odd uids.
    if body.count(b"{") > MAX_CONNECTIONS + 1:
        return NoForm(f"more than {MAX_CONNECTIONS:,} connections")
    return _decode(_page, body, "not a complete list of connections")


def read_varz(body: bytes) -> Varz | NoForm:
    """What a node says of itself."""
    return _decode(_varz, body, "not a node's status with its uptime")


def read_message(body: bytes) -> str:
    """The message in an error's body, fit to be printed; empty where there is none."""
    found = _decode(_error, body, "")
    return "" if isinstance(found, NoForm) else printable(found.msg)


def read_sample(body: bytes, name: bytes) -> float | None:
    """The value of a metric's first sample in Prometheus' text format; the time it takes is the body's length."""
    at = 0 if body.startswith(name) else body.find(b"\n" + name) + 1
    if not at and not body.startswith(name):
        return None
    end = body.find(b"\n", at)
    line = body[at : end if end >= 0 else len(body)]
    labels, brace, value = line[len(name) :].rpartition(b"}")
    if brace and not labels.startswith(b"{"):
        return None
    words = value.split()
    if len(words) not in (1, 2) or (not brace and not value[:1].isspace()):
        # Another metric whose name begins so, a label without its end, or more than a value and its instant.
        return None
    try:
        return float(words[0])
    except ValueError:
        return None


def _decode(decoder: msgspec.json.Decoder[T], body: bytes, reason: str) -> T | NoForm:
    """What the body holds. No body raises: numbers may have any length, and arrays any depth."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        return NoForm(reason)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError):
        return NoForm("not JSON")
