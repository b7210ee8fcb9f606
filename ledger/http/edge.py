"""What every request and answer goes through before the routes: the path as it was written, headers for browsers."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

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
