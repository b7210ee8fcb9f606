"""One question to a node over HTTP and its whole answer, or in words why there is none; no word of it is a secret."""

import errno
import io
import logging
import re
import socket
import ssl
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import httpx2

from ledger.sources.wukongim.answers import OK, Unanswered

MIB = 1_048_576

MAX_BODY_BYTES = 256 * MIB
"""A million rows of `/connz`, ten times the largest node we know of; a larger body would endanger the service."""

MAX_ERROR_BYTES = 65_536
"""Enough for a message; of a longer error the rest is not read."""

LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=8, keepalive_expiry=30.0)
"""The budget bounds the calls. No call waits for another one's connection: a probe must not look timed out for it."""

TOO_LARGE = Unanswered(f"an answer of more than {MAX_BODY_BYTES // MIB} MiB")

_TOKEN = re.compile(r"[\x21-\x7e]+")
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})
_MOST_CAUSES = 100


class Answer(NamedTuple):
    """A whole answer, of any status. Of an error's body the beginning."""

    status: int
    body: bytes


def may_pass(answer: Answer | Unanswered) -> bool:
    """Whether asking again may help: a broken connection or a server's own error, not a refusal of the question."""
    if isinstance(answer, Answer):
        return answer.status >= httpx2.codes.INTERNAL_SERVER_ERROR
    return answer != TOO_LARGE


class Exchange:
    """The HTTP side of one node. Without proxies, redirects or log lines, for addresses and tokens are secrets."""

    def __init__(
        self,
        api_url: str | None,
        token: str | None,
        connect_seconds: float,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        for name in ("httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._connect_seconds = connect_seconds
        self._address = api_url.rstrip("/") if api_url else ""
        self.problem = _address_problem(api_url)
        """Why no question can be sent at all."""
        headers = {"User-Agent": "presence-ledger", "Accept-Encoding": "identity"}
        if token and _TOKEN.fullmatch(token):
            headers["token"] = token
        elif token and self.problem is None:
            self.problem = Unanswered("the token holds characters that cannot be sent in a header")
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(None, connect=connect_seconds),
            limits=LIMITS,
            follow_redirects=False,
            trust_env=False,
            verify=_tls(),
            transport=transport,
        )

    async def ask(self, method: str, route: str, content: bytes | None = None) -> Answer | Unanswered:
        """Send one request and read its whole answer; the caller bounds the time."""
        if self.problem is not None:
            return self.problem
        if self._http.is_closed:
            return Unanswered("the client is closed")
        headers = {"Content-Type": "application/json"} if content is not None else None
        try:
            async with self._http.stream(method, self._address + route, content=content, headers=headers) as response:
                return await _whole(response)
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError, ValueError, RuntimeError) as error:
            return self._in_words(error)

    async def close(self) -> None:
        await self._http.aclose()

    def _in_words(self, error: Exception) -> Unanswered:
        """The library's own texts stay out: they may quote the address or a header."""
        match error:
            case httpx2.ConnectTimeout():
                return Unanswered(f"no connection within {self._connect_seconds:g} s")
            case httpx2.ConnectError():
                return _not_connected(error)
            case httpx2.DecodingError():
                return Unanswered("an answer in a broken encoding")
            case httpx2.RemoteProtocolError() | httpx2.NetworkError() | httpx2.TimeoutException():
                return Unanswered("the connection broke before the whole answer had come")
            case _:
                return Unanswered(f"the question could not be sent ({type(error).__name__})")


async def _whole(response: httpx2.Response) -> Answer | Unanswered:
    # Unlike a join of the chunks, this holds a long body once.
    body = io.BytesIO()
    async for chunk in response.aiter_bytes():
        body.write(chunk)
        size = body.tell()
        if response.status_code != OK and size >= MAX_ERROR_BYTES:
            break
        if size > MAX_BODY_BYTES:
            return TOO_LARGE
    return Answer(response.status_code, body.getvalue())


def _address_problem(api_url: str | None) -> Unanswered | None:
    if not api_url:
        return Unanswered("no api_url is set")
    unusable = Unanswered("api_url is no address like http://127.0.0.1:5001")
    try:
        url = httpx2.URL(api_url)
    except (httpx2.InvalidURL, ValueError, TypeError):
        return unusable
    usable = url.scheme in {"http", "https"} and url.host and (url.port is None or 0 < url.port < 65_536)
    return None if usable and not url.query and not url.fragment else unusable


@cache
def _tls() -> ssl.SSLContext:
    """Made once: reading the trusted certificates takes longer than any other part of a client."""
    return httpx2.create_ssl_context(trust_env=False)


def _not_connected(error: Exception) -> Unanswered:
    causes = list(_causes(error))
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return Unanswered("connection refused", refused=True)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return Unanswered("the host of api_url is not known")
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return Unanswered("no TLS connection: handshake failed or certificate not trusted")
    if any(isinstance(cause, OSError) and cause.errno in _UNREACHABLE for cause in causes):
        return Unanswered("no route to the host")
    return Unanswered("no connection")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it came from, a few addresses' failures side by side included."""
    waiting = [error]
    for _ in range(_MOST_CAUSES):
        if not waiting:
            return
        cause = waiting.pop()
        yield cause
        if isinstance(cause, BaseExceptionGroup):
            waiting.extend(cause.exceptions)
        if (origin := cause.__cause__ or cause.__context__) is not None:
            waiting.append(origin)
