"""Reading a request's body: part by part, within a bound and a time, decoded, before anything is made of it."""

import asyncio
import codecs
import zlib
from collections.abc import Callable
from contextlib import nullcontext

from fastapi import Request
from starlette.requests import ClientDisconnect

from ledger.http.problems import Problem

BODY_SECONDS = 30.0
"""A body that is not here by then is not waited for; senders of webhooks give up after 5 to 10 s."""
LARGE_BYTES = 65_536
GZIP = frozenset({"gzip", "x-gzip"})
PLAIN = frozenset({"", "identity"})
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
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in PLAIN and encoding not in GZIP:
        raise Encoded
    declared = request.headers.get("content-length", "")
    is_declared = declared.isascii() and declared.isdigit()
    if is_declared and int(declared) > bound:
        raise TooLarge(bound, way_out)
    is_small = encoding in PLAIN and is_declared and int(declared) <= LARGE_BYTES
    async with nullcontext() if large is None or is_small else large:
        body = await _whole(request, bound, way_out)
        if encoding in GZIP:
            body = await asyncio.to_thread(_decompressed, body, bound, way_out)
    return body.removeprefix(codecs.BOM_UTF8)


async def _whole(request: Request, bound: int, way_out: str) -> bytes:
    parts: list[bytes] = []
    left = bound

    def take(part: bytes) -> bool:
        nonlocal left
        left -= len(part)
        parts.append(part)
        return left >= 0

    await _each(request, take)
    if left < 0:
        raise TooLarge(bound, way_out)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def discard(request: Request, bound: int) -> None:
    """Read and forget the body, as far as the bound. Raises Problem where its sender cuts it off or takes too long."""
    left = bound

    def forget(part: bytes) -> bool:
        nonlocal left
        left -= len(part)
        return left >= 0

    await _each(request, forget)


async def _each(request: Request, take: Callable[[bytes], bool]) -> None:
    """Hand over part by part, as long as more is taken."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                if not take(part):
                    return
    except ClientDisconnect as error:
        raise Problem(400, "the body was cut off") from error
    except TimeoutError as error:
        raise TooSlow from error


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
