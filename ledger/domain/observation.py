"""An observation: what one item of a webhook claims, and the text form that it came in, both ways."""

import re

import msgspec

Instant = int
"""Microseconds since the Unix epoch, UTC. Whole numbers compare, subtract and store exactly."""

SECOND = 1_000_000

MAX_UID_BYTES = 1024
MAX_DEVICE_FLAG = 255
MAX_NUMBER = 2**63 - 1

# From the right, since a uid may itself hold "-"; DOTALL, since it may hold a line break too.
_ITEM = re.compile(r"(.+)-([0-9]+)-([01])-([0-9]+)-([0-9]+)-([0-9]+)", re.DOTALL)


class Claim(msgspec.Struct, frozen=True, gc=False):
    """One item, parsed: this user's connection on this device flag came or went, and how many are left or there."""

    uid: str
    device_flag: int
    online: bool
    conn_id: int
    device_count: int
    total_count: int


class Malformed(msgspec.Struct, frozen=True, gc=False):
    """Why an element of a webhook's array is not a claim; a value, since upstream sends what it likes."""

    reason: str


NOT_A_CLAIM = Malformed("not uid-flag-online-connId-count-count")


def parse_item(item: object) -> Claim | Malformed:
    """Parse one element of a webhook's array, `uid-deviceFlag-online-connId-deviceOnlineCount-totalOnlineCount`."""
    if not isinstance(item, str):
        return Malformed("not a string")
    match = _ITEM.fullmatch(item)
    if match is None:
        return NOT_A_CLAIM
    uid, flag, online, conn_id, device_count, total_count = match.groups()
    if not uid.isascii() or len(uid) > MAX_UID_BYTES or "\0" in uid:
        problem = _uid_problem(uid)
        if problem:
            return Malformed(problem)
    # Lengths first: int() of a thousand digits is slow, and of five thousand an exception.
    if len(flag) > 19 or len(conn_id) > 19 or len(device_count) > 19 or len(total_count) > 19:
        return Malformed("number beyond 2^63")
    claim = Claim(uid, int(flag), online == "1", int(conn_id), int(device_count), int(total_count))
    if claim.device_flag > MAX_DEVICE_FLAG:
        return Malformed("device flag above 255")
    if claim.conn_id > MAX_NUMBER or claim.device_count > MAX_NUMBER or claim.total_count > MAX_NUMBER:
        return Malformed("number beyond 2^63")
    return claim


def _uid_problem(uid: str) -> str | None:
    if "\0" in uid:
        return "uid holds NUL"
    try:
        size = len(uid.encode())
    except UnicodeEncodeError:
        return "uid holds a lone surrogate"
    return f"uid over {MAX_UID_BYTES} bytes" if size > MAX_UID_BYTES else None


class Observation(msgspec.Struct, frozen=True, gc=False):
    """A claim with what we know of its arrival.

    `first_received_at` is set when its delivery may be one that came before, sent again, and says when that was.
    """

    claim: Claim
    source: str
    node: str
    delivery: str
    item: int
    raw: str
    received_at: Instant
    first_received_at: Instant | None = None
    anew: bool = False
    """The same bytes came before, in what is taken for another POST."""
    spooled: bool = False
    """It waited in a spool while the store was away: what is newer may be known already."""
