"""The command `onlineStatus` as WuKongIM's clients read it, the request that sends it, and what a node answers to it.

Android and iOS take a user to be offline where `all_offline` is 1, web where `online` is not the number 1; of their own
user's other devices the phones read `online`. So what watchers are sent differs from what the user's own devices are.
"""

import base64
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from ledger.domain.profile import Profile
from ledger.text import printable, shortened

ROUTE = "/message/send"

MAX_SUBSCRIBERS = 500
"""Of one command; WuKongIM holds a channel, or a list in memory, for each."""

ANSWER_BYTES = 65_536
"""An answer has less than a kilobyte."""

SYSTEM_UID = "____system"
"""The account by which every version sends for itself."""

LONGEST_REASON = 200

_OK = 200
_UNAUTHORIZED = 401
_SUCCESS = 1
_BY_WEIGHT = (0, 2, 1)
"""App, desktop, web; then whatever an app has of its own."""

_encode = msgspec.json.Encoder().encode


class _Answer(msgspec.Struct, gc=False):
    """The part of an answer that says whether the command was taken: v2's `status`, v3's `reason`."""

    status: int = _OK
    reason: int = _SUCCESS
    msg: str = ""
    error: str = ""


_answer = msgspec.json.Decoder(_Answer)


class Command(NamedTuple):
    """A user and a device of theirs, as one recipient is told; `main` is the best device that is online."""

    uid: str
    is_online: bool
    """To watchers whether the user is, on any device; to the user's own devices whether `device_flag` is."""
    device_flag: int
    main: int
    all_offline: bool


class CommandRefused(NamedTuple):
    """Why a node has not sent a command, in words without a secret."""

    reason: str
    may_pass: bool
    """Whether another node, or the same one later, may send it as it is."""


def main_device(flags: Iterable[int]) -> int | None:
    """The device of the highest weight among those that are online; None where none is."""
    return min(flags, key=lambda flag: (_BY_WEIGHT.index(flag) if flag in _BY_WEIGHT else 3, flag), default=None)


def payload(command: Command, more: dict[str, Any]) -> bytes:
    """The message's JSON. `more` is for clients that can order what they are told; the others do not read it."""
    param: dict[str, Any] = {
        "uid": command.uid,
        "online": int(command.is_online),
        "device_flag": command.device_flag,
        "main_device_flag": command.main,
    }
    if command.all_offline:
        # The phones look whether it is there before they look what it says.
        param["all_offline"] = 1
    return _encode({"cmd": "onlineStatus", "type": 99, "param": param | more})


def request(message: bytes, subscribers: Sequence[str], from_uid: str, profile: Profile) -> bytes:
    """The body of `POST /message/send` that sends a message to these users, and is kept for nobody who is offline."""
    if not from_uid and profile is Profile.V3:
        from_uid = SYSTEM_UID
    return _encode({
        "header": {"no_persist": 1, "red_dot": 0, "sync_once": 1},
        "from_uid": from_uid,
        "channel_id": "",
        "channel_type": 0,
        "subscribers": subscribers,
        "payload": base64.b64encode(message).decode("ascii"),
    })  # fmt: skip


def chunks(subscribers: Iterable[str]) -> Iterable[list[str]]:
    """As many as one command may have, in the order of their uids."""
    ordered = sorted(subscribers)
    for start in range(0, len(ordered), MAX_SUBSCRIBERS):
        yield ordered[start : start + MAX_SUBSCRIBERS]


def refusal(status: int, body: bytes) -> CommandRefused | None:
    """Why a command was not taken; None where it was: HTTP's 200 alone does not say so."""
    if status == _UNAUTHORIZED:
        return CommandRefused("401: the token is refused", may_pass=False)
    try:
        answer = _answer.decode(body)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError):
        answer = None
    if status != _OK:
        said = "" if answer is None else shortened(printable(answer.msg or answer.error), LONGEST_REASON)
        return CommandRefused(f"{status}: {said}" if said else str(status), may_pass=status >= 500)
    if answer is None:
        return CommandRefused("an answer that is not WuKongIM's", may_pass=True)
    if answer.status != _OK:
        return CommandRefused(f"status {answer.status}", may_pass=False)
    return None if answer.reason == _SUCCESS else CommandRefused(f"reason {answer.reason}", may_pass=False)
