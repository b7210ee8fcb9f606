"""What every request and answer goes through before the routes: the path as it was written, headers for browsers."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from ledger.http.outages import Outages

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

CACHE_CONTROL, POLICY = b"cache-control", b"content-security-policy"
NO_SNIFFING = (b"x-content-type-options", b"nosniff")
NO_STORE = (CACHE_CONTROL, b"no-store")
NOTHING_LOADS = (POLICY, b"default-src 'none'; frame-ancestors 'none'")
"""An answer of the API is not a page: should a browser show it as one, it loads nothing and no page frames it."""

FIRST_ERROR = 400
FROM_STORE = ("/v1/", "/health/ready")
"""Where the answers begin that PostgreSQL is asked for."""


def without_last_slash(scope: Message) -> None:
    """`/health/live/` is `/health/live`. Only of a slash that was written so: an encoded one is part of a name."""
    path: str = scope["path"]
    if path.endswith("/") and scope.get("raw_path", b"/").endswith(b"/"):
        scope["path"] = path.rstrip("/") or "/"


def with_whole_names(scope: Message) -> None:
    """Keep what is encoded in a list's name within its part of the path: `a%2Fpresence` is the name of a list."""
    parts = scope.get("raw_path", b"").partition(b"?")[0].split(b"/")
    if parts[:3] == _LISTS and len(parts) > 3:
        name = unquote_to_bytes(parts[3]).decode(errors="replace")
        rest = scope["path"].removeprefix(f"/v1/lists/{name}")
        scope["path"] = f"/v1/lists/{quote(name, safe='')}{rest}"


_LISTS = [b"", b"v1", b"lists"]


def with_token(scope: Message) -> None:
    """Take a stream's token out of the address: native clients send no headers, and what is logged shows addresses."""
    query: bytes = scope["query_string"]
    if b"token=" not in query or not scope["path"].startswith("/v1/"):
        # What a webhook's address has is handed on as it came.
        return
    parts = query.split(b"&")
    given = [part for part in parts if part.startswith(b"token=")]
    scope["query_string"] = b"&".join(part for part in parts if not part.startswith(b"token="))
    if given and not any(name == b"authorization" for name, _ in scope["headers"]):
        token = unquote_to_bytes(given[0].removeprefix(b"token="))
        scope["headers"] = [*scope["headers"], (b"authorization", ADDRESS_SCHEME.encode() + b" " + token)]


ADDRESS_SCHEME = "Address-Token"
"""Tells what stood in the address from what was sent as a header: an API key must not be there."""


def guarded(send: Send, scope: Message, outages: Outages) -> Send:
    """Adds the headers that an answer has not itself; notes an answer that ends an outage."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = message.setdefault("headers", [])
            names = {name for name, _ in headers}
            headers.append(NO_SNIFFING)
            if CACHE_CONTROL not in names:
                headers.append(NO_STORE)
            if POLICY not in names:
                headers.append(NOTHING_LOADS)
            if (
                outages.questions.is_ongoing
                and message["status"] < FIRST_ERROR
                and scope["path"].startswith(FROM_STORE)
            ):
                outages.questions.succeeded()
        await send(message)

    return send_with_headers
