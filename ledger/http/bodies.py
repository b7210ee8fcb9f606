"""Reading a request's body: part by part, within a bound and a time, decoded, before anything is made of it."""

import asyncio
import codecs
import zlib
from contextlib import suppress

from fastapi import Request
from starlette.requests import ClientDisconnect

from ledger.http.problems import Problem

BODY_SECONDS = 30.0
"""A body that is not here by then is not waited for; senders of webhooks give up after 5 to 10 s."""
LARGE_BYTES = 65_536
GZIP = frozenset({b"gzip", b"x-gzip"})
PLAIN = frozenset({b"", b"identity"})
GZIP_WINDOW = 31
"""zlib's number for gzip's header and trailer around a window of 32 KiB."""


class TooLarge(Problem):
    """413: the body is larger than the bound."""

    def __init__(self, bound: int, way_out: str) -> None:
        super().__init__(413, f"the body is larger than {bound} bytes; {way_out}")


class TooSlow(Problem):
    """408: the body is not complete in time."""

    def __init__(self) -> None:
        super().__init__(408, f"the body was not complete after {BODY_SECONDS:g} s")


class Encoded(Problem):
    """415: the body is encoded in a way that is not decoded here."""

    def __init__(self) -> None:
        super().__init__(
            415,
            "the body's Content-Encoding is not known here: send it plain, or as gzip",
            headers={"Accept-Encoding": "gzip"},
        )


class Undecodable(Problem):
    """400: the body is not what its Content-Encoding says; `body` is as it came."""

    def __init__(self, body: bytes) -> None:
        super().__init__(400, "the body is not gzip, though its Content-Encoding says so")
        self.body = body


async def read(request: Request, bound: int, way_out: str, large: asyncio.Semaphore | None = None) -> bytes:
    """The whole body, decoded, without a byte order mark, of at most `bound` bytes; so many large ones at a time.

    Raises TooLarge, Encoded, Undecodable, or Problem where its sender cuts it off or takes too long.
    """
    encoding, _ = _framing(request)
    if encoding not in PLAIN and encoding not in GZIP:
        raise Encoded
    turn = _Turn(large)
    try:
        body = await as_it_came(request, bound, way_out, turn)
        if encoding in GZIP:
            await turn.take()
        return await decoded(request, body, bound, way_out)
    finally:
        turn.give()


async def as_it_came(request: Request, bound: int, way_out: str, turn: "_Turn | None" = None) -> bytes:
    """The whole body, whatever its encoding, of at most `bound` bytes. Raises TooLarge, or Problem as `read` does."""
    _, declared = _framing(request)
    if declared.isdigit() and int(declared) > bound:
        raise TooLarge(bound, way_out)
    return await _whole(request, bound, way_out, turn or _Turn(None))


async def decoded(request: Request, body: bytes, bound: int, way_out: str) -> bytes:
    """A body that came as this, decoded, without a byte order mark. Raises TooLarge, Encoded, Undecodable."""
    encoding, _ = _framing(request)
    if encoding in GZIP:
        body = await asyncio.to_thread(_decompressed, body, bound, way_out)
    elif encoding not in PLAIN:
        raise Encoded
    return body.removeprefix(codecs.BOM_UTF8)


async def discard(request: Request, bound: int) -> None:
    """Read and forget the body, as far as the bound. Raises Problem where its sender cuts it off or takes too long."""
    with suppress(TooLarge):
        await _whole(request, bound, "", _Turn(None), keep=False)


class _Turn:
    """One of a few turns at large bodies, taken once a body has become large."""

    def __init__(self, large: asyncio.Semaphore | None) -> None:
        self._large = large
        self._is_taken = False

    async def take(self) -> None:
        if self._large is not None and not self._is_taken:
            await self._large.acquire()
            self._is_taken = True

    def give(self) -> None:
        if self._large is not None and self._is_taken:
            self._large.release()


def _framing(request: Request) -> tuple[bytes, bytes]:
    """How the body is encoded, and its length as far as it is declared; in one go over the headers."""
    encoding = declared = b""
    for name, value in request.scope["headers"]:
        if name == b"content-length":
            declared = value
        elif name == b"content-encoding":
            encoding = value.strip().lower()
    return encoding, declared


async def _whole(request: Request, bound: int, way_out: str, turn: _Turn, *, keep: bool = True) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > bound:
                    raise TooLarge(bound, way_out)
                if size > LARGE_BYTES:
                    await turn.take()
                if keep:
                    parts.append(part)
    except ClientDisconnect as error:
        raise Problem(400, "the body was cut off") from error
    except TimeoutError as error:
        raise TooSlow from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _decompressed(body: bytes, bound: int, way_out: str) -> bytes:
    """What a gzip holds, never more than the bound of it in memory."""
    decoder = zlib.decompressobj(GZIP_WINDOW)
    try:
        decoded = decoder.decompress(body, bound + 1)
    except zlib.error as error:
        raise Undecodable(body) from error
    if len(decoded) > bound:
        raise TooLarge(bound, way_out)
    if not decoder.eof or decoder.unused_data:
        raise Undecodable(body)
    return decoded
