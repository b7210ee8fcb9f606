"""One question to a node over HTTP and its whole answer, or in words why there is none; no word of it is a secret."""

import asyncio
import contextlib
import errno
import io
import logging
import re
import socket
import ssl
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import httpx2

from ledger.sources.wukongim.answers import OK, Unanswered
from ledger.sources.wukongim.forms import ERROR_BYTES, MIB

LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=8, keepalive_expiry=30.0)
"""The budget bounds the calls. No call waits for another one's connection: a probe must not look timed out for it."""

IDENTITY = "identity"

_TOKEN = re.compile(r"[\x21-\x7e]+")
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})
_MOST_CAUSES = 100


class Answer(NamedTuple):
    """A whole answer, of any status. Of an error's body the beginning."""

    status: int
    body: bytes
    date: str | None = None
    """The header of that name: the server's clock, in whole seconds."""


def may_pass(answer: Answer | Unanswered) -> bool:
    """Whether asking again may help: a broken connection or a server's own error, not a refusal of the question."""
    if isinstance(answer, Answer):
        return answer.status >= httpx2.codes.INTERNAL_SERVER_ERROR
    return not answer.long_held


class Exchange:
    """The HTTP side of one node. Without proxies, redirects or log lines, for addresses and tokens are secrets."""

    def __init__(
        self,
        api_url: str | None,
        token: str | None,
        connect_seconds: float,
        transport: httpx2.AsyncBaseTransport | None = None,
        *,
        ca_file: Path | None = None,
    ) -> None:
        for name in ("httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._connect_seconds = connect_seconds
        self._address = api_url.rstrip("/") if api_url else ""
        self.problem = _address_problem(api_url)
        """Why no question can be sent at all."""
        headers = {"User-Agent": "presence-ledger", "Accept-Encoding": IDENTITY}
        if token and _TOKEN.fullmatch(token):
            headers["token"] = token
        elif token and self.problem is None:
            self.problem = Unanswered("the token holds characters that cannot be sent in a header")
        trusted = _well_known() if ca_file is None else _private(ca_file)
        if trusted is None and self.problem is None:
            self.problem = Unanswered("the certificates of api_ca_file cannot be read")
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(None, connect=connect_seconds),
            limits=LIMITS,
            follow_redirects=False,
            trust_env=False,
            verify=trusted or _well_known(),
            transport=transport,
        )

    async def ask(
        self, method: str, route: str, content: bytes | None = None, *, most_bytes: int
    ) -> Answer | Unanswered:
        """Send one request and read its whole answer, of so many bytes at most; the caller bounds the time.

        Whatever becomes of the request is a value: under load the library and the event loop beneath it fail in ways
        of their own, as with an AttributeError where a connection is reset while it is being made.
        """
        if self.problem is not None:
            return self.problem
        if self._http.is_closed:
            return Unanswered("the client is closed")
        headers = {"Content-Type": "application/json"} if content is not None else None
        try:
            async with self._http.stream(method, self._address + route, content=content, headers=headers) as response:
                return await _whole(response, most_bytes)
        except Exception as error:  # noqa: BLE001  (one request failed, and no more)
            _give_way_to_cancellation(error)
            return self._in_words(error)

    async def close(self) -> None:
        """Give the connections up, however that fails: nothing is asked over them again."""
        with contextlib.suppress(Exception):
            await self._http.aclose()

    def _in_words(self, error: Exception) -> Unanswered:
        """The library's own texts stay out: they may quote the address or a header."""
        match error:
            case httpx2.ConnectTimeout():
                return Unanswered(f"no connection within {self._connect_seconds:g} s")
            case httpx2.ConnectError():
                return _not_connected(error)
            case httpx2.RemoteProtocolError() | httpx2.NetworkError() | httpx2.TimeoutException() | AttributeError():
                # uvloop leaves a connection that was reset at once without its socket, which the library then asks.
                return Unanswered("the connection broke before the whole answer had come")
            case _:
                return Unanswered(f"the question could not be sent ({type(error).__name__})")


async def _whole(response: httpx2.Response, most_bytes: int) -> Answer | Unanswered:
    encoding = response.headers.get("content-encoding", IDENTITY)
    if encoding.strip().lower() != IDENTITY:
        # None was asked for, and a few bytes of one may stand for any number.
        return Unanswered("an answer in an encoding that was not asked for", long_held=True)
    # Unlike a join of the chunks, this holds a long body once.
    body = io.BytesIO()
    async for chunk in response.aiter_bytes():
        body.write(chunk)
        size = body.tell()
        if response.status_code != OK and size >= ERROR_BYTES:
            break
        if size > most_bytes:
            return Unanswered(f"an answer of more than {_size(most_bytes)}", long_held=True)
    return Answer(response.status_code, body.getvalue(), response.headers.get("date"))


def _size(number: int) -> str:
    return f"{number // 1024:,} KiB" if number < MIB else f"{number // MIB:,} MiB"


def _give_way_to_cancellation(error: Exception) -> None:
    """Raise the cancellation that this error came in the place of: a task that missed it would never end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


def _address_problem(api_url: str | None) -> Unanswered | None:
    if not api_url:
        return Unanswered("no api_url is set")
    unusable = Unanswered("api_url is not an address such as http://127.0.0.1:5001")
    try:
        url = httpx2.URL(api_url)
    except (httpx2.InvalidURL, ValueError, TypeError):
        return unusable
    usable = url.scheme in {"http", "https"} and url.host and (url.port is None or 0 < url.port < 65_536)
    return None if usable and not url.query and not url.fragment else unusable


def _private(ca_file: Path) -> ssl.SSLContext | None:
    """Trust in the file's authorities and no others; None where it cannot be read any more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ValueError):
        return None
    return context


@cache
def _well_known() -> ssl.SSLContext:
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
