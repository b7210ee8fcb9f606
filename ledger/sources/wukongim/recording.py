"""Recordings: what a server sent and answered, a JSON object a line in order of time, read for replay."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

from ledger.domain.observation import SECOND, Instant
from ledger.domain.profile import Profile
from ledger.errors import LedgerError
from ledger.lines import LineTooLong, bounded_lines
from ledger.sources.wukongim.payload import EVENT_NAME
from ledger.text import shortened

PROFILES = {
    "v12": Profile.V1,
    "v21": Profile.V2_1,
    "v22": Profile.V2_2,
    "v3": Profile.V3,
    **{profile.value: profile for profile in Profile},
}
"""By the name of the server in a recording's first line."""

LONGEST = 10**9
"""Seconds; a recording that claims more is broken."""


class RecordingError(LedgerError):
    """The file is not a recording; the text names the line."""


class RecordingHeader(NamedTuple):
    """What a recording's first line says."""

    profile: Profile
    started_at: Instant
    """The instant of second 0; the epoch where the recording does not tell."""


class RecordedWebhook(NamedTuple):
    """A webhook of presence that reached the receiver."""

    at: Instant
    node: str
    body: bytes


class RecordedPoll(NamedTuple):
    """An answer of the query API, or with `error` the name of what came instead of one."""

    at: Instant
    node: str
    method: str
    path: str
    """With its query."""
    asked: tuple[str, ...]
    """The users asked about, where the question was about users."""
    status: int
    body: bytes
    error: str | None


RecordedLine = RecordedWebhook | RecordedPoll | Instant
"""Of a line that is neither a webhook nor a poll its instant alone, so that time goes on."""


def read_texts(stream: BinaryIO) -> Iterator[str]:
    """The lines of a recording; what is no UTF-8 in it is kept as surrogates. Raises RecordingError, OSError."""
    try:
        for line in bounded_lines(stream):
            yield line.decode(errors="surrogateescape")
    except LineTooLong as error:
        raise RecordingError(f"{error}; a recording has one JSON object per line") from None


def read_header(line: str | None) -> RecordingHeader:
    """Read the first line; None where there is none. Raises RecordingError."""
    if line is None:
        raise RecordingError("the file is empty; a recording begins with a line of kind 'meta'")
    meta = _line(1, line)
    if meta["kind"] != "meta" or not isinstance(meta.get("server"), str):
        raise RecordingError("line 1: a recording begins with a line of kind 'meta' that names its 'server'")
    profile = PROFILES.get(meta["server"])
    if profile is None:
        known = ", ".join(sorted(PROFILES))
        raise RecordingError(f"line 1: unknown server {shortened(repr(meta['server']))}; known are {known}")
    started_at = meta.get("started_at", 0)
    if not isinstance(started_at, int | float) or not 0 <= started_at < 10**11:
        raise RecordingError("line 1: 'started_at' is not a Unix time in seconds")
    return RecordingHeader(profile, round(started_at * SECOND))


def read_lines(
    lines: Iterable[str], header: RecordingHeader, until: Instant | None, *, all_deliveries: bool, polls: bool
) -> Iterator[RecordedLine]:
    """What follows the first line.

    A webhook that was refused or cut counts as lost, unless `all_deliveries`. Raises RecordingError.
    """
    for number, text in enumerate(lines, 2):
        if not text.strip():
            continue
        line = _line(number, text)
        at = header.started_at + round(_seconds(number, line) * SECOND)
        if until is not None and at > until:
            return
        reached = line.get("answer") == "ok" or all_deliveries
        if line["kind"] == "webhook" and line.get("event") == EVENT_NAME and reached:
            yield RecordedWebhook(at, _text(number, line, "node"), _body(number, line))
        elif line["kind"] == "poll" and polls:
            yield _poll(number, line, at)
        else:
            yield at


def _poll(number: int, line: dict[str, Any], at: Instant) -> RecordedPoll:
    method, _, path = _text(number, line, "route").partition(" ")
    request, error, status = line.get("request"), line.get("error"), line.get("status", 0)
    asked = tuple(uid for uid in request if isinstance(uid, str)) if isinstance(request, list) else ()
    if not (error is None or isinstance(error, str)):
        raise RecordingError(f"line {number}: 'error' is not a string")
    if isinstance(status, bool) or not isinstance(status, int):
        raise RecordingError(f"line {number}: 'status' is not a whole number")
    body = b"" if error is not None else _body(number, line)
    return RecordedPoll(at, _text(number, line, "node"), method, path, asked, status, body, error)


def _line(number: int, text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except json.JSONDecodeError as error:
        raise RecordingError(
            f"line {number}: not JSON ({error.msg}); a recording has one JSON object per line"
        ) from None
    except RecursionError:
        raise RecordingError(f"line {number}: nested too deeply") from None
    except ValueError:
        raise RecordingError(f"line {number}: a number with too many digits") from None
    if not isinstance(line, dict) or not isinstance(line.get("kind"), str):
        raise RecordingError(f"line {number}: not a JSON object with a 'kind'")
    return line


def _seconds(number: int, line: dict[str, Any]) -> float:
    seconds = line.get("t", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < LONGEST:
        raise RecordingError(f"line {number}: 't' is not a number of seconds")
    return float(seconds)


def _text(number: int, line: dict[str, Any], field: str) -> str:
    value = line.get(field)
    if not isinstance(value, str):
        raise RecordingError(f"line {number}: '{field}' is missing or not a string")
    return value


def _body(number: int, line: dict[str, Any]) -> bytes:
    # A recorded body may hold what is no UTF-8; the recorder kept such bytes as surrogates.
    try:
        return _text(number, line, "body").encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise RecordingError(
            f"line {number}: 'body' contains a lone surrogate, which does not stand for a byte"
        ) from None
