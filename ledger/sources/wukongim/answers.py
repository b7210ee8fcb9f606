"""What WuKongIM's query APIs answer, parsed. A failed or odd answer says nothing; it never means "all offline"."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeGuard

import msgspec

from ledger.domain.observation import MAX_DEVICE_FLAG, MAX_NUMBER, MAX_UID_BYTES, SECOND, Instant

OK = 200
EARLY = LAG = round(1.1 * SECOND)
"""By so much `/metrics` may be early and the uptime of `/varz` lag, beside its whole seconds (seen in recordings)."""

_LABELS = {"App": 0, "Web": 1, "PC": 2}
_DURATION = re.compile(r"(?:([0-9]{1,9})y)?(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")
_DURATION_SECONDS = (365 * 86400, 86400, 3600, 60, 1)
_STARTED = re.compile(rb"^process_start_time_seconds(?:\{[^}]*\})?\s+([0-9.eE+]{1,40})\s*$", re.MULTILINE)


class Unanswered(NamedTuple):
    """A look that failed, and why, in words for people."""

    reason: str
    refused: bool = False
    """Nobody listens at the address."""
    answered: bool = False
    """Somebody did answer, if with nothing of use: the node lives."""


class OnlineRows(NamedTuple):
    """The users' connections by device flag; who has none is missing. `odd` rows were of nobody we asked about."""

    rows: Mapping[str, Mapping[int, int]]
    odd: int = 0


class Connection(NamedTuple):
    """One row of `/connz`; `device_flag` is None for custom flags, `node_id` for v1, which names none."""

    uid: str
    conn_id: int
    device_flag: int | None
    node_id: int | None
    up_seconds: int | None = None


class Connections(NamedTuple):
    """A node's `/connz` in one page: its own sockets, and rows of other nodes that it remembers as their leader."""

    rows: Sequence[Connection]
    odd: int = 0

    def own(self, node_id: int | None) -> list[Connection]:
        """The node's own sockets, which are evidence; all of them where the node's id is not known."""
        return [row for row in self.rows if node_id is None or row.node_id is None or row.node_id == node_id]


class Boot(NamedTuple):
    """When a node booted: at some instant of this interval. `node_id` where the node says it."""

    earliest: Instant
    latest: Instant
    node_id: int | None = None


def read_online_status(status: int, body: bytes, asked: Collection[str]) -> OnlineRows | Unanswered:
    """POST /user/onlinestatus: a row for each connection that is online; absence of a user we asked about is the answer
    "offline". `null`, `[]` and the object that answers an empty list are empty."""
    answer = _json(status, body)
    if isinstance(answer, Unanswered):
        return answer
    if answer is None:
        answer = []
    if not isinstance(answer, list):
        return Unanswered("no list of rows", answered=True)
    wanted = asked if isinstance(asked, set | frozenset | dict) else set(asked)
    rows: dict[str, dict[int, int]] = {}
    odd = 0
    for row in answer:
        uid, flag = (row.get("uid"), row.get("device_flag")) if isinstance(row, dict) else (None, None)
        if not isinstance(uid, str) or uid not in wanted or not _is_flag(flag) or row.get("online") != 1:
            odd += 1
            continue
        flags = rows.setdefault(uid, {})
        flags[flag] = flags.get(flag, 0) + 1
    return OnlineRows(rows, odd)


class _Page(msgspec.Struct, gc=False):
    connections: list[msgspec.Raw] | None = None
    total: int = 0
    offset: int = 0
    limit: int | None = None


class _Row(msgspec.Struct, gc=False):
    uid: str
    id: Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]
    device: Any = None
    node_id: Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)] | None = None
    uptime: Any = None


_page = msgspec.json.Decoder(_Page).decode
_row = msgspec.json.Decoder(_Row).decode


def read_connections(status: int, body: bytes) -> Connections | Unanswered:
    """GET /connz, asked with a limit above all that a node can hold, since there is no snapshot across pages.

    Row by row and without the fields that nobody needs: a body of 100,000 rows is 40 MB.
    """
    if status != OK:
        return _failed(status, body)
    try:
        page = _page(body)
    except msgspec.ValidationError:
        return Unanswered("no list of connections", answered=True)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Unanswered("no JSON", answered=True)
    found = page.connections or []
    if page.total and page.connections is None:
        return Unanswered("a total without its connections", answered=True)
    if page.offset != 0 or (page.limit is not None and len(found) >= page.limit):
        return Unanswered(f"only a page of the connections: limit {page.limit}", answered=True)
    rows: list[Connection] = []
    odd = 0
    for raw in found:
        try:
            row = _row(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            odd += 1
            continue
        if not row.uid or "\0" in row.uid or len(row.uid.encode()) > MAX_UID_BYTES:
            odd += 1
            continue
        label = row.device if isinstance(row.device, str) else ""
        rows.append(
            Connection(row.uid, row.id, _LABELS.get(label.partition("(")[0]), row.node_id, _seconds(row.uptime))
        )
    return Connections(rows, odd)


def read_uptime(status: int, body: bytes, asked_at: Instant, answered_at: Instant) -> Boot | Unanswered:
    """GET /varz: the uptime in whole seconds, as of some instant between the question and its answer."""
    answer = _json(status, body)
    if isinstance(answer, Unanswered):
        return answer
    if not isinstance(answer, dict) or not isinstance(answer.get("uptime"), str):
        return Unanswered("no uptime", answered=True)
    seconds = _seconds(answer["uptime"])
    if seconds is None:
        return Unanswered("an uptime that is no duration", answered=True)
    up = seconds * SECOND
    server_id = answer.get("server_id")
    node_id = int(server_id) if isinstance(server_id, str) and server_id.isdecimal() else None
    return Boot(asked_at - up - SECOND - LAG, answered_at - up, node_id or None)


def _seconds(uptime: object) -> int | None:
    """The seconds of `1h2m3s`; None where it is no duration."""
    match = _DURATION.fullmatch(uptime) if isinstance(uptime, str) and uptime else None
    if match is None:
        return None
    return sum(int(number or 0) * unit for number, unit in zip(match.groups(), _DURATION_SECONDS, strict=True))


def read_start_time(status: int, body: bytes) -> Boot | Unanswered:
    """GET /metrics: the process's start, Unix seconds, which is a little before the boot."""
    if status != OK:
        return _failed(status, body)
    match = _STARTED.search(body)
    try:
        started = None if match is None else round(float(match[1]) * SECOND)
    except (ValueError, OverflowError):
        started = None
    if started is None:
        return Unanswered("no process_start_time_seconds", answered=True)
    return Boot(started, started + EARLY)


def _json(status: int, body: bytes) -> Any:
    """The value in a good answer, or Unanswered."""
    if status != OK:
        return _failed(status, body)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Unanswered("no JSON", answered=True)


def _failed(status: int, body: bytes) -> Unanswered:
    if status == 401:
        return Unanswered("401: the token is refused", answered=True)
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = None
    message = answer.get("msg") if isinstance(answer, dict) else None
    # Not cut here: half a token that it quotes would no longer be found.
    reason = f"{status}: {message}" if isinstance(message, str) and message else str(status)
    return Unanswered(reason, answered=True)


def _is_flag(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_DEVICE_FLAG
