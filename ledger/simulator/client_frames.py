"""The bytes that clients and simulated nodes exchange: WuKongIM's binary protocol as far as coming and going needs it.

Written from the protocol's description, apart from the product's own, so that one error is not on both sides.
"""

import base64
from dataclasses import dataclass
from random import Random
from typing import Literal

from ledger.simulator.plan import Profile

LATEST_VERSION: dict[Profile, int] = {"v1": 3, "v2.1": 4, "v2.2": 5, "v3": 6}
MAX_BODY_BYTES = 1 << 20
PONG = b"\x80"

SUCCESS, AUTHENTICATION_FAILED, BANNED, KEY_IS_EMPTY = 1, 2, 19, 21


class NoFrameError(Exception):
    """What a node answers by closing the connection."""


@dataclass(frozen=True, slots=True)
class Introduction:
    """A client's CONNECT."""

    version: int
    device_flag: int
    device_id: str
    uid: str
    token: str
    client_time: int
    client_key: str


Heard = Introduction | Literal["ping", "other"]


def take(buffer: bytearray) -> Heard | None:
    """Take the first whole frame off the buffer; None while there is none. Raises NoFrameError."""
    if not buffer:
        return None
    kind = buffer[0] >> 4
    if kind in (7, 8):
        del buffer[0]
        return "ping" if kind == 7 else "other"
    length, shift, at = 0, 0, 1
    while True:
        if at > 4:
            raise NoFrameError
        if at >= len(buffer):
            return None
        length |= (buffer[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if buffer[at - 1] < 128:
            break
    if kind == 0 or length > MAX_BODY_BYTES:
        raise NoFrameError
    if len(buffer) < at + length:
        return None
    body = bytes(buffer[at : at + length])
    del buffer[: at + length]
    return _introduction(body) if kind == 1 else "other"


def _introduction(body: bytes) -> Introduction:
    try:
        device_id, at = _text(body, 2)
        uid, at = _text(body, at)
        token, at = _text(body, at)
        client_time = int.from_bytes(body[at : at + 8], "big", signed=True)
        client_key, _ = _text(body, at + 8)
        return Introduction(body[0], body[1], device_id, uid, token, client_time, client_key)
    except (IndexError, UnicodeDecodeError) as error:
        raise NoFrameError from error


def _text(body: bytes, at: int) -> tuple[str, int]:
    """-> (the text that begins there, where it ends)"""
    end = at + 2 + (body[at] << 8 | body[at + 1])
    if end > len(body):
        raise NoFrameError
    return body[at + 2 : end].decode(), end


def refusal(reason: int) -> bytes:
    """The CONNACK of whoever is not let in: a reason, and nothing else."""
    return b"\x20" + bytes([13]) + bytes(8) + bytes([reason]) + bytes(4)


def welcome(profile: Profile, client: Introduction, node_number: int, now: float, random: Random) -> bytes:
    """The CONNACK of whoever is let in, as a version writes it to a client of an older or a newer protocol."""
    version = min(client.version or LATEST_VERSION[profile], LATEST_VERSION[profile])
    key = base64.b64encode(random.randbytes(32))
    salt = "".join(random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=16)).encode()
    body = bytes([version]) if client.version > 3 else b""
    body += (int(now * 1000) - client.client_time).to_bytes(8, "big", signed=True) + bytes([SUCCESS])
    body += len(key).to_bytes(2, "big") + key + len(salt).to_bytes(2, "big") + salt
    if version > 3:
        body += node_number.to_bytes(8, "big")
    return bytes([0x20 | (client.version > 3), len(body)]) + body
