"""Frames of WuKongIM's binary protocol: values to bytes and back, pure; the same for v1 to v3 as far as they go.

A frame is a byte of kind and flags, then, but for PING and PONG, the size of its body in 1 to 4 bytes of 7 bits, the
lowest first, and the body. Numbers are big-endian; a text is its size in 2 bytes and its bytes.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

CONNECT, CONNACK, PING, PONG, DISCONNECT = 1, 2, 7, 8, 9

MAX_BODY_BYTES = 1_048_576
"""The most that a server of any version takes or sends."""
MAX_TEXT_BYTES = 0x7FFF

VERSION = 4
"""Of the protocol, which the server may not know a newer one of: v1 to v3 all speak it. It names the node."""

_MAX_SIZE_BYTES = 4
_HAS_SERVER_VERSION = 0x01
_NODE_ID = struct.Struct(">Q")


class FrameError(Exception):
    """Bytes that are no frame; the message says why."""


class Connect(NamedTuple):
    """A client introduces itself; its key is a Curve25519 public key in Base64, its time in milliseconds."""

    uid: str
    token: str
    device_flag: int
    device_id: str
    client_key: str
    client_timestamp: int
    version: int = VERSION


class Connack(NamedTuple):
    """The server's answer; `reason` is 1 where it lets the client in. Nobody here reads messages: keys stay as sent.

    `server_version` and `node_id` are None where the server is of a version, or of a mind, not to name them.
    """

    reason: int
    time_diff: int = 0
    server_key: bytes = b""
    salt: bytes = b""
    server_version: int | None = None
    node_id: int | None = None


class Ping(NamedTuple):
    """Are you there?"""


class Pong(NamedTuple):
    """I am."""


class Disconnect(NamedTuple):
    """Go away, or I do."""

    reason: int
    text: str = ""


class Unread(NamedTuple):
    """A frame of another kind, such as a message: not read."""

    kind: int
    size: int


Frame: TypeAlias = Connect | Connack | Ping | Pong | Disconnect | Unread


def encode(frame: Connect | Connack | Ping | Pong | Disconnect) -> bytes:
    """The bytes of a frame. Raises FrameError for a text that is too long."""
    match frame:
        case Ping():
            return bytes([PING << 4])
        case Pong():
            return bytes([PONG << 4])
        case Connect():
            body = bytes([frame.version, frame.device_flag])
            body += _text(frame.device_id) + _text(frame.uid) + _text(frame.token)
            body += struct.pack(">q", frame.client_timestamp) + _text(frame.client_key)
            return _framed(CONNECT << 4, body)
        case Connack():
            flags = 0 if frame.server_version is None else _HAS_SERVER_VERSION
            body = b"" if frame.server_version is None else bytes([frame.server_version])
            body += struct.pack(">qB", frame.time_diff, frame.reason) + _sized(frame.server_key) + _sized(frame.salt)
            body += b"" if frame.node_id is None else _NODE_ID.pack(frame.node_id)
            return _framed(CONNACK << 4 | flags, body)
        case Disconnect():
            return _framed(DISCONNECT << 4, bytes([frame.reason]) + _text(frame.text))


def split(data: bytes) -> tuple[Frame, int] | None:
    """The first frame of some bytes and its size; None: more are needed. Raises FrameError."""
    if not data:
        return None
    kind, flags = data[0] >> 4, data[0] & 0x0F
    if kind in (PING, PONG):
        return (Ping() if kind == PING else Pong()), 1
    if kind == 0:
        raise FrameError("a frame of kind 0, which there is not")
    sized = _body_size(data)
    if sized is None:
        return None
    size, begin = sized
    if len(data) < begin + size:
        return None
    body = _Body(data[begin : begin + size])
    read = _READ.get(kind)
    return (Unread(kind, size) if read is None else read(body, flags)), begin + size


class FrameReader:
    """Puts frames together of bytes as they come in. No more than one frame's is ever kept."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete. Raises FrameError; nothing can be read after that."""
        self._rest += data
        frames: list[Frame] = []
        begin = 0
        while (found := split(self._rest[begin:] if begin else self._rest)) is not None:
            frames.append(found[0])
            begin += found[1]
        self._rest = self._rest[begin:]
        return frames


def _body_size(data: bytes) -> tuple[int, int] | None:
    """-> (size of the body, where it begins); None while its last byte is missing. Raises FrameError."""
    size = 0
    for place, byte in enumerate(data[1 : 1 + _MAX_SIZE_BYTES]):
        size |= (byte & 0x7F) << 7 * place
        if not byte & 0x80:
            if size > MAX_BODY_BYTES:
                raise FrameError(f"a frame of {size} bytes, more than any server sends")
            return size, place + 2
    if len(data) > _MAX_SIZE_BYTES:
        raise FrameError("a frame whose size is no number")
    return None


def _framed(head: int, body: bytes) -> bytes:
    size, sized = len(body), bytearray([head])
    while size >= 0x80:
        sized.append(size & 0x7F | 0x80)
        size >>= 7
    sized.append(size)
    return bytes(sized) + body


def _text(text: str) -> bytes:
    return _sized(text.encode())


def _sized(value: bytes) -> bytes:
    if len(value) > MAX_TEXT_BYTES:
        raise FrameError(f"a text of {len(value)} bytes: {MAX_TEXT_BYTES} fit into a frame")
    return len(value).to_bytes(2, "big") + value


class _Body:
    """A frame's body, read from its begin."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if self.left < size:
            raise FrameError("a frame that ends too early")
        self._at += size
        return self._data[self._at - size : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def sized(self) -> bytes:
        return self.take(int.from_bytes(self.take(2), "big"))

    def text(self) -> str:
        try:
            return self.sized().decode()
        except UnicodeDecodeError:
            raise FrameError("a text that is not UTF-8") from None

    def milliseconds(self) -> int:
        return int.from_bytes(self.take(8), "big", signed=True)


def _connect(body: _Body, _: int) -> Connect:
    version, device_flag = body.byte(), body.byte()
    device_id, uid, token = body.text(), body.text(), body.text()
    client_timestamp = body.milliseconds()
    return Connect(uid, token, device_flag, device_id, body.text(), client_timestamp, version)


def _connack(body: _Body, flags: int) -> Connack:
    server_version = body.byte() if flags & _HAS_SERVER_VERSION else None
    time_diff, reason = body.milliseconds(), body.byte()
    server_key, salt = body.sized(), body.sized()
    # v1 does not name its node, nor do refusals of any version.
    node_id = _NODE_ID.unpack(body.take(_NODE_ID.size))[0] if body.left else None
    return Connack(reason, time_diff, server_key, salt, server_version, node_id)


def _disconnect(body: _Body, _: int) -> Disconnect:
    return Disconnect(body.byte(), body.text())


_READ: dict[int, Callable[[_Body, int], Frame]] = {CONNECT: _connect, CONNACK: _connack, DISCONNECT: _disconnect}
