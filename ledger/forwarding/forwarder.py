"""Hands a webhook on to the business server as it came, over kept-alive connections, and brings back its answer.

Nothing of a message is kept, logged or counted but its event's name and what became of it.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

import httpx2

from ledger.domain.profile import Profile

Headers: TypeAlias = list[tuple[bytes, bytes]]

SENDER_TIMEOUT_SECONDS = {Profile.V1: 5.0, Profile.V2_1: 5.0, Profile.V2_2: 10.0, Profile.V3: 5.0}
"""How long each version of WuKongIM waits for the header of an answer."""

MARGIN_SECONDS = 0.5
"""We give up so much before the sender does, so that it is told and does not guess."""

CONNECT_SECONDS = 2.0

MAX_ANSWER_BYTES = 1_048_576
"""WuKongIM reads the status alone; more serves nothing."""

LIMITS = httpx2.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=60.0)

SILENT = "the business server did not answer within {:g} s"
UNREACHABLE = "the business server took no connection"

_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
     b"trailer", b"transfer-encoding", b"upgrade"}
)  # fmt: skip
"""RFC 9110, 7.6.1: what concerns one connection and no other."""

_SET_BY_CLIENT = frozenset({b"host", b"content-length", b"expect"})
_SET_BY_SERVER = frozenset({b"content-length", b"date", b"server"})

Outcome: TypeAlias = Literal["delivered", "refused", "unreachable", "timed_out"]


class Webhook(NamedTuple):
    """What is handed on: the query as it stood in the address, the headers as they came, the very bytes."""

    query: bytes
    headers: Headers
    body: bytes


class Forwarded(NamedTuple):
    """The business server's own answer."""

    status: int
    headers: Headers
    body: bytes

    @property
    def outcome(self) -> Outcome:
        """Only a 200 counts as delivered with WuKongIM."""
        return "delivered" if self.status == httpx2.codes.OK else "refused"


class NotForwarded(NamedTuple):
    """Why there is no answer: what WuKongIM is told instead, and in words that hold no address."""

    status: Literal[502, 504]
    outcome: Outcome
    reason: str


def seconds_for(profile: Profile) -> float:
    """How long the business server may take with a node of this profile."""
    return SENDER_TIMEOUT_SECONDS[profile] - MARGIN_SECONDS


class Forwarder:
    """The HTTP side of one source's business server; without proxies and redirects."""

    def __init__(self, url: str, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        for name in ("httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._url = httpx2.URL(url)
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
            limits=LIMITS,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )

    async def forward(self, webhook: Webhook, seconds: float) -> Forwarded | NotForwarded:
        """POST it and return the answer, whatever its status, or why there is none within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                return await self._answer(webhook)
        except TimeoutError:
            return NotForwarded(504, "timed_out", SILENT.format(seconds))
        except (httpx2.HTTPError, httpx2.StreamError, OSError, RuntimeError) as error:
            return NotForwarded(502, "unreachable", _in_words(error))

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def _answer(self, webhook: Webhook) -> Forwarded | NotForwarded:
        try:
            return await self._exchange(webhook)
        except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
            # A kept-alive connection may be closed by the other side just as we write: once more, over another one.
            # Who took the first one sees it twice, as with WuKongIM's own retry, which would cost it an attempt.
            return await self._exchange(webhook)

    async def _exchange(self, webhook: Webhook) -> Forwarded | NotForwarded:
        headers = _end_to_end(webhook.headers, _SET_BY_CLIENT)
        # Built by hand: the client's own headers would be additions.
        request = httpx2.Request(
            "POST", self._url.copy_with(query=webhook.query), headers=headers, content=webhook.body
        )
        response = await self._http.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    return NotForwarded(502, "refused", f"its answer is larger than {MAX_ANSWER_BYTES} bytes")
            return Forwarded(response.status_code, _end_to_end(response.headers.raw, _SET_BY_SERVER), bytes(body))
        finally:
            await response.aclose()


def _end_to_end(headers: Iterable[tuple[bytes, bytes]], without: frozenset[bytes]) -> Headers:
    """The headers that are for the other end, but those that are made again there."""
    left_out = _HOP_BY_HOP | without
    return [(name, value) for name, value in headers if name.lower() not in left_out]


def _in_words(error: Exception) -> str:
    """The library's own texts stay out: they may quote the address, which may hold a password."""
    match error:
        case httpx2.ConnectTimeout():
            return f"the business server took no connection within {CONNECT_SECONDS:g} s"
        case httpx2.ConnectError():
            return UNREACHABLE
        case _:
            return "the connection to the business server broke before its answer had come"
