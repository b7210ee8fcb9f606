"""What WuKongIM's query APIs answer, and what it says. A failed or odd answer says nothing, and never "all offline".

An answer speaks only in the whole form that the versions send (`forms.py`), and within what was asked: an error that
comes with a 200, an envelope around an answer, rows without a part, rows of others alone are no answer.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

from ledger.domain.observation import MAX_NUMBER, MAX_UID_BYTES, SECOND, Instant
from ledger.sources.wukongim.forms import (
    NoForm,
    read_connection_page,
    read_message,
    read_sample,
    read_status_rows,
    read_varz,
)

OK = 200
EARLY = LAG = round(1.1 * SECOND)
"""By so much `/metrics` may be early and the uptime of `/varz` lag, besides its whole seconds (seen in recordings)."""

LONGEST_UPTIME_SECONDS = 100 * 365 * 86400
LATEST_START_SECONDS = 10**11

_LABELS = {"App": 0, "Web": 1, "PC": 2}
_DURATION = re.compile(r"(?:([0-9]{1,9})y)?(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")
_DURATION_SECONDS = (365 * 86400, 86400, 3600, 60, 1)
_SERVER_ID = re.compile(r"[0-9]{1,19}")
_START_TIME = b"process_start_time_seconds"

T = TypeVar("T")


class Unanswered(NamedTuple):
    """A look that failed, and why, in words for people."""

    reason: str
    refused: bool = False
    """Nobody listens at the address."""
    answered: bool = False
    """Somebody did answer, if with nothing of use: the node lives."""
    held_back: bool = False
    """It was not asked at all, for what `reason` says of the questions before."""
    long_held: bool = False
    """To ask the same again at once would help nothing."""


TOKEN_REFUSED = Unanswered("401: the token is refused", answered=True)
"""The node lives, and answers no question."""


class OnlineRows(NamedTuple):
    """The users' connections by device flag; who has none is missing. `odd` rows were of nobody we asked about."""

    rows: Mapping[str, Mapping[int, int]]
    odd: int = 0


class NodeConnection(NamedTuple):
    """One row of `/connz`; `device_flag` is None for custom flags, `node_id` for v1, which names none."""

    uid: str
    conn_id: int
    device_flag: int | None
    node_id: int | None
    up_seconds: int | None = None
    """How long it has been open; None where that is not said in a form that we know."""


class NodeConnections(NamedTuple):
    """A node's `/connz` in one page: its own sockets, and rows of other nodes that it remembers as their leader.

    `sockets` is what the node counts of its own, those that have not logged in included.
    """

    rows: Sequence[NodeConnection]
    sockets: int
    odd: int = 0

    def own(self, node_id: int | None) -> list[NodeConnection]:
        """The node's own sockets, which are evidence; all of them where the node's id is not known."""
        return [row for row in self.rows if node_id is None or row.node_id is None or row.node_id == node_id]


class Boot(NamedTuple):
    """When a node booted: at some instant of this interval. `node_id` where the node says it."""

    earliest: Instant
    latest: Instant
    node_id: int | None = None


def read_online_status(status: int, body: bytes, asked: Collection[str]) -> OnlineRows | Unanswered:
    """POST /user/onlinestatus: a row for each connection that is online; absence of a user we asked about is the answer
    "offline". `null` and `[]` are empty."""
    found = _failed(status, body) if status != OK else _or_unanswered(read_status_rows(body))
    if isinstance(found, Unanswered):
        return found
    wanted = asked if isinstance(asked, set | frozenset | dict) else set(asked)
    rows: dict[str, dict[int, int]] = {}
    odd = 0
    for row in found:
        if row.uid not in wanted:
            odd += 1
            continue
        flags = rows.setdefault(row.uid, {})
        flags[row.device_flag] = flags.get(row.device_flag, 0) + 1
    if odd and not rows:
        return Unanswered("an answer about users who were not asked about", answered=True)
    return OnlineRows(rows, odd)


def read_connections(status: int, body: bytes) -> NodeConnections | Unanswered:
    """GET /connz, asked with a limit above all that a node can hold, since there is no snapshot across pages."""
    page = _failed(status, body) if status != OK else _or_unanswered(read_connection_page(body))
    if isinstance(page, Unanswered):
        return page
    if page.offset != 0 or len(page.connections) >= page.limit:
        return Unanswered(f"only a page of the connections: limit {page.limit}", answered=True)
    # A row that comes twice is one connection.
    rows: dict[NodeConnection, None] = {}
    odd = 0
    for row in page.connections:
        if not row.uid or "\0" in row.uid or len(row.uid.encode()) > MAX_UID_BYTES:
            odd += 1
        else:
            flag = _LABELS.get(row.device.partition("(")[0])
            rows[NodeConnection(row.uid, row.id, flag, row.node_id, _seconds(row.uptime))] = None
    return NodeConnections(list(rows), page.total, odd)


def read_uptime(status: int, body: bytes, asked_at: Instant, answered_at: Instant) -> Boot | Unanswered:
    """GET /varz: the uptime in whole seconds, as of some instant between the question and its answer."""
    answer = _failed(status, body) if status != OK else _or_unanswered(read_varz(body))
    if isinstance(answer, Unanswered):
        return answer
    up = _seconds(answer.uptime)
    if up is None:
        return Unanswered("an uptime that is not a duration", answered=True)
    node_id = int(answer.server_id) if _SERVER_ID.fullmatch(answer.server_id) else 0
    known = node_id if 0 < node_id <= MAX_NUMBER else None
    return Boot(asked_at - (up + 1) * SECOND - LAG, answered_at - up * SECOND, known)


def _seconds(uptime: str) -> int | None:
    """The seconds of `1h2m3s`; None where it is not a duration of some years at most."""
    match = _DURATION.fullmatch(uptime)
    if match is None or not uptime:
        return None
    seconds = sum(int(number or 0) * unit for number, unit in zip(match.groups(), _DURATION_SECONDS, strict=True))
    return seconds if seconds <= LONGEST_UPTIME_SECONDS else None


def read_start_time(status: int, body: bytes) -> Boot | Unanswered:
    """GET /metrics: the process's start, Unix seconds, which is a little before the boot."""
    if status != OK:
        return _failed(status, body)
    seconds = read_sample(body, _START_TIME)
    if seconds is None or not 0 <= seconds < LATEST_START_SECONDS:
        return Unanswered("no process_start_time_seconds", answered=True)
    started = round(seconds * SECOND)
    return Boot(started, started + EARLY)


def _or_unanswered(read: T | NoForm) -> T | Unanswered:
    return Unanswered(read.reason, answered=True) if isinstance(read, NoForm) else read


def _failed(status: int, body: bytes) -> Unanswered:
    if status == 401:
        return TOKEN_REFUSED
    # Not cut here: half a token that it quotes would no longer be found.
    message = read_message(body)
    return Unanswered(f"{status}: {message}" if message else str(status), answered=True)
