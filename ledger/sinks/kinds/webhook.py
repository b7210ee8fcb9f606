"""The kind `webhook`: changes posted as Standard Webhooks 1.0.0, signed with each of the secrets."""

import asyncio
import contextlib
import logging
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
import msgspec
from standardwebhooks import Webhook

from ledger import __version__
from ledger.domain.instants import to_text
from ledger.settings import WebhookSettings
from ledger.sinks.kind import Batch, Done, Head, Kind, Outcome, Retry, Stop

TIMEOUT_SECONDS = 15.0
"""From the connection to the whole answer."""

MAX_ANSWER_BYTES = 65_536
"""Its status alone counts; of what comes with it so much is read that a small answer's connection can be kept."""

GONE = 410

CHANGED = "presence.changed"

LIMITS = httpx2.Limits(max_connections=4, max_keepalive_connections=1, keepalive_expiry=60.0)

_encode = msgspec.json.Encoder().encode


def build(sink: WebhookSettings, transport: httpx2.AsyncBaseTransport | None = None) -> Kind:
    """The way to this receiver."""
    return _Webhook(sink, transport)


def body_of(sink: str, batch: Batch) -> bytes:
    """What is posted: the same bytes for the same batch, whenever it is."""
    changes = b",".join([each.body for each in batch.changes])
    return (
        b'{"type":"%s","timestamp":"%s","data":{"sink":%s,"from":%d,"to":%d,"changes":[%s]}}'
        % (CHANGED.encode(), to_text(batch.made_at).encode(), _encode(sink), batch.begin, batch.end, changes)
    )  # fmt: skip


class _Webhook:
    def __init__(self, sink: WebhookSettings, transport: httpx2.AsyncBaseTransport | None) -> None:
        for name in ("httpx2", "httpcore2"):
            # An address may hold a secret.
            logging.getLogger(name).setLevel(logging.ERROR)
        self._sink = sink
        self._signers = [Webhook(secret) for secret in sink.secrets]
        self._http = httpx2.AsyncClient(
            timeout=None,
            limits=LIMITS,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )

    async def tell(self, batch: Batch) -> Outcome:
        body = body_of(self._sink.name, batch)
        headers = self._headers(batch.id, body.decode(), datetime.now(UTC))
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._post(body, headers)
        except TimeoutError:
            return Retry(f"no answer within {TIMEOUT_SECONDS:g} s")
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, OSError, RuntimeError) as error:
            # What a library says may quote the address.
            return Retry(_in_words(error))

    async def keep(self, head: Head) -> Outcome | None:
        return None

    async def close(self) -> None:
        await self._http.aclose()

    def _headers(self, identifier: str, body: str, at: datetime) -> dict[str, str]:
        return {
            "content-type": "application/json",
            "user-agent": f"presence-ledger/{__version__}",
            "webhook-id": identifier,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signer.sign(identifier, at, body) for signer in self._signers),
            "accept-encoding": "identity",
        }

    async def _post(self, body: bytes, headers: dict[str, str]) -> Outcome:
        async with self._http.stream("POST", self._sink.url, content=body, headers=headers) as response:
            outcome = judge(response.status_code, response.headers.get("retry-after"), datetime.now(UTC))
            # Success is its status, whatever comes with it or does not.
            with contextlib.suppress(httpx2.HTTPError, httpx2.StreamError, TimeoutError):
                await _read_some(response)
            return outcome


async def _read_some(response: httpx2.Response) -> None:
    read = 0
    async with asyncio.timeout(1.0):
        async for chunk in response.aiter_raw():
            read += len(chunk)
            if read > MAX_ANSWER_BYTES:
                return


def judge(status: int, retry_after: str | None, now: datetime) -> Outcome:
    """What an answer's status means: 2xx alone is success, 410 the end."""
    if 200 <= status < 300:
        return Done()
    if status == GONE:
        return Stop("answered 410 Gone: the receiver wants no more")
    if 300 <= status < 400:
        return Retry(f"answered {status}: redirects are not followed", seconds_in(retry_after, now))
    return Retry(f"answered {status}", seconds_in(retry_after, now))


def seconds_in(retry_after: str | None, now: datetime) -> float | None:
    """The seconds that a Retry-After asks for, None where it says nothing that can be read."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.strip().isdigit():
        return float(retry_after.strip()[:9])
    try:
        at = parsedate_to_datetime(retry_after)
    except (TypeError, ValueError):
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())


def _in_words(error: Exception) -> str:
    match error:
        case httpx2.ConnectError():
            return "took no connection"
        case httpx2.RemoteProtocolError() | httpx2.DecodingError():
            return "what it answered is not HTTP, or it closed the connection"
        case httpx2.ReadError() | httpx2.WriteError():
            return "the connection broke"
        case _:
            return f"could not be asked: {type(error).__name__}"
