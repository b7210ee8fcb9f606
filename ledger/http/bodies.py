"""Reading a request's body: part by part, within a bound, before anything is made of it."""

from collections.abc import AsyncIterator

from fastapi import Request
from starlette.requests import ClientDisconnect

from ledger.http.problems import Problem


class TooLarge(Problem):
    """413: the body is larger than the bound."""

    def __init__(self, bound: int, way_out: str) -> None:
        super().__init__(413, f"the body is larger than {bound} bytes (max_body_bytes); {way_out}")


async def read(request: Request, bound: int, way_out: str) -> bytes:
    """The whole body, of at most `bound` bytes. Raises TooLarge, or Problem where its sender cuts it off."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > bound:
        raise TooLarge(bound, way_out)
    parts, size = [], 0
    async for part in _stream(request):
        size += len(part)
        if size > bound:
            raise TooLarge(bound, way_out)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def discard(request: Request, bound: int) -> None:
    """Read and forget the body, as far as the bound. Raises Problem where its sender cuts it off."""
    size = 0
    async for part in _stream(request):
        size += len(part)
        if size > bound:
            return


async def _stream(request: Request) -> AsyncIterator[bytes]:
    try:
        async for part in request.stream():
            yield part
    except ClientDisconnect as error:
        raise Problem(400, "the body was cut off") from error
