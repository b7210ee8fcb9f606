"""How an answer about many users goes out: the fields that are asked for, its tag, compressed where that is taken."""

import asyncio
import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from itertools import chain, repeat
from typing import Any, NamedTuple

import msgspec
from fastapi import Request, Response

from ledger.domain.observation import SECOND
from ledger.http.answers import PresenceBody
from ledger.http.problems import invalid
from ledger.text import shortened
from projections.models.shown import as_of
from projections.queries.reader import Read

ALWAYS = ("uid", "stale_since", "as_of")
"""What every answer tells, whatever is asked for."""
FIELDS = tuple(each.encode_name for each in msgspec.structs.fields(PresenceBody) if each.encode_name not in ALWAYS)

LARGE_USERS = 200
"""So many and more are made ready by a thread: meanwhile the event loop goes on."""
MIN_ZIPPED_BYTES = 2_048
"""Less goes in a packet or two anyway."""
ZIPPED_AT_ONCE = 2
"""While as many are being compressed, an answer goes out as it is: nobody waits for it."""
LEVEL = 1
"""Of zlib. Presences repeat each other; a higher level takes twice the time for a tenth less."""
GZIP_WINDOW = 31

TAG_DIGITS = 24

_GZIP = re.compile(r"(?:^|,)\s*(?:gzip|x-gzip|\*)\s*(?:;\s*q=(?P<q>[01](?:\.[0-9]*)?))?\s*(?=,|$)", re.IGNORECASE)

Cut = Callable[[bytes], bytes]


class Representation(NamedTuple):
    """How a request would have its answer: `cut` makes a presence of the wanted fields alone; None: of all."""

    cut: Cut | None
    zipped: bool
    tags: str


def asked(request: Request) -> Representation:
    """What a request's parameters and headers say. Raises the problem that names an unknown field or parameter."""
    cut = None
    if request.scope["query_string"]:
        for name in request.query_params:
            if name != "fields":
                raise invalid(name, "this route has no such parameter")
        cut = _cutting(",".join(request.query_params.getlist("fields")))
    accepted, tags = "", ""
    for name, value in request.scope["headers"]:
        if name == b"accept-encoding":
            accepted = value.decode("latin-1")
        elif name == b"if-none-match":
            tags = value.decode("latin-1")
    return Representation(cut, accepts_gzip(accepted), tags)


def accepts_gzip(header: str) -> bool:
    """Whether `Accept-Encoding` allows for gzip."""
    match = _GZIP.search(header)
    return match is not None and (match["q"] is None or float(match["q"]) > 0)


def matches(header: str | None, tag: str) -> bool:
    """RFC 9110's weak comparison, of any of the tags listed."""
    if not header:
        return False
    tags = [each.strip().removeprefix("W/") for each in header.split(",")]
    return tag.removeprefix("W/") in tags or "*" in tags


def tag(bodies: Iterable[bytes]) -> str:
    """Changes whenever what is told does, `as_of` aside; weak, since that is in the answer as well."""
    # Processors compute this one themselves: half the time of any other.
    digest = hashlib.sha256()
    for body in bodies:
        digest.update(body)
    return f'W/"{digest.hexdigest()[:TAG_DIGITS]}"'


class Representations:
    """Answers about many users."""

    def __init__(self) -> None:
        self._zipping = 0

    async def answer(self, read: Read, wanted: Representation) -> Response:
        """The answer, or 304 where it is the one that is known already."""
        if len(read.bodies) < LARGE_USERS:
            known, body = _made(read, wanted)
        else:
            known, body = await asyncio.to_thread(_made, read, wanted)
        headers = {"ETag": known, "Vary": "Accept-Encoding"} | age(read)
        if body is None:
            return Response(status_code=304, headers=headers)
        if wanted.zipped and len(body) >= MIN_ZIPPED_BYTES and self._zipping < ZIPPED_AT_ONCE:
            body = await self._zip(body)
            headers["Content-Encoding"] = "gzip"
        return Response(body, headers=headers, media_type="application/json")

    async def _zip(self, body: bytes) -> bytes:
        self._zipping += 1
        try:
            return await asyncio.to_thread(_zipped, body)
        finally:
            self._zipping -= 1


def age(read: Read) -> dict[str, str]:
    """The header that says how old an answer from memory is, in seconds."""
    return {} if read.stale_since is None else {"Age": str((read.made.at - read.stale_since) // SECOND)}


def _made(read: Read, wanted: Representation) -> tuple[str, bytes | None]:
    """-> (its tag, the answer; None where it is known already)"""
    bodies = read.bodies if wanted.cut is None else [wanted.cut(body) for body in read.bodies]
    known = tag(bodies)
    if matches(wanted.tags, known):
        return known, None
    return known, items(Read(read.made, bodies), b"}")


def items(read: Read, rest: bytes) -> bytes:
    """`{"items":[…]` and the rest of the answer; each item has the same `as_of`."""
    if not read.bodies:
        return b'{"items":[]' + rest
    end = as_of(read.made)
    # In one go: an answer may be megabytes large, and each copy of so much takes longer than all else here.
    parts = [b'{"items":[', *chain.from_iterable(zip(read.bodies, repeat(end + b",")))]
    parts[-1] = end + b"]" + rest
    return b"".join(parts)


def _zipped(body: bytes) -> bytes:
    compressor = zlib.compressobj(LEVEL, wbits=GZIP_WINDOW)
    return compressor.compress(body) + compressor.flush()


@lru_cache(maxsize=64)
def _cutting(text: str) -> Cut:
    """What makes a presence of these fields alone. Raises the problem that names the one that is none."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in FIELDS and name not in ALWAYS:
            raise invalid("fields", f"no field of a presence: '{shortened(name, 64)}'; there are {', '.join(FIELDS)}")
    # In the order of a whole presence; `uncertain` and `stale_since` are not in each of them.
    kept = {"uid", "stale_since", *names}
    chosen: Sequence[Any] = [
        (name, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET)
        for name in ("uid", *FIELDS, "stale_since")
        if name in kept
    ]
    struct = msgspec.defstruct("Chosen", chosen)
    return partial(_cut, msgspec.json.Decoder(struct).decode, msgspec.json.Encoder().encode)


def _cut(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes], body: bytes) -> bytes:
    return encode(decode(body + b"}"))[:-1]


PARAMETER: dict[str, Any] = {
    "name": "fields",
    "in": "query",
    "description": "tell these of each presence alone, beside `uid` and `as_of`",
    "required": False,
    "style": "form",
    "explode": False,
    "schema": {"type": "array", "minItems": 1, "items": {"type": "string", "enum": list(FIELDS)}},
}
"""As the route's description has it."""
