"""The kind `webhook`: what is posted, and what becomes of whatever the receiver answers."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import httpx2
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from ledger.settings import WebhookSettings
from ledger.sinks.kind import Batch, ChangeOrder, Done, Head, Outcome, Retry, Stop, ToldChange
from ledger.sinks.kinds import webhook
from ledger.sinks.kinds.webhook import body_of, build, judge, seconds_in

NEW = "whsec_" + base64.b64encode(bytes(range(24))).decode()
OLD = "whsec_" + base64.b64encode(bytes(range(1, 25))).decode()
SINK = WebhookSettings("app", "https://app.example/presence?key=hunter2", (NEW, OLD))
NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
BATCH = Batch(
    "msg_1",
    [ToldChange("用户", '{"uid":"用户","status":"online"}'.encode(), ChangeOrder("e", 7, 1_000_000))],
    made_at=1_000_000,
    begin=5,
    end=7,
)

Handler = Callable[[httpx2.Request], httpx2.Response]


def told(handler: Handler) -> tuple[Outcome, list[httpx2.Request]]:
    """What becomes of the batch with a receiver that answers so, and what it was sent."""
    requests: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return handler(request)

    async def tell() -> Outcome:
        kind = build(SINK, httpx2.MockTransport(answer))
        assert await kind.keep(Head(ChangeOrder("e", 7, 1), 0)) is None
        try:
            return await kind.tell(BATCH)
        finally:
            await kind.close()

    return asyncio.run(tell()), requests


def test_it_posts_what_the_standard_says_signed_with_each_secret() -> None:
    outcome, [request] = told(lambda _: httpx2.Response(204))
    assert outcome == Done()
    assert (request.method, str(request.url)) == ("POST", SINK.url)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == "msg_1"
    for secret in (NEW, OLD):
        Webhook(secret).verify(request.content, dict(request.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(request.content + b" ", dict(request.headers))
    assert json.loads(request.content) == {
        "type": "presence.changed",
        "timestamp": "1970-01-01T00:00:01.000000Z",
        "data": {"sink": "app", "from": 5, "to": 7, "changes": [{"uid": "用户", "status": "online"}]},
    }
    assert request.content == body_of("app", BATCH)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Done()),
        (299, Done()),
        (301, Retry("answered 301: redirects are not followed")),
        (304, Retry("answered 304: redirects are not followed")),
        (400, Retry("answered 400")),
        (404, Retry("answered 404")),
        (410, Stop("answered 410 Gone: the receiver wants no more")),
        (500, Retry("answered 500")),
    ],
)
def test_2xx_alone_is_success(status: int, outcome: Outcome) -> None:
    assert told(lambda _: httpx2.Response(status, headers={"location": "https://elsewhere.example"}))[0] == outcome


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("9" * 40, 999_999_999.0),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("²", None),
        ("Mon, 30 Nov 2026 12:01:30 GMT", 90.0),
        ("Mon, 30 Nov 2026 11:00:00 GMT", 0.0),
        ("Mon, 30 Nov 2026 12:01:30 -0000", 90.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert seconds_in(header, NOW) == seconds
    assert judge(503, header, NOW) == Retry("answered 503", seconds)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx2.ConnectError("https://app.example/presence?key=hunter2"), "took no connection"),
        (httpx2.RemoteProtocolError("hunter2"), "what it answered is not HTTP, or it closed the connection"),
        (httpx2.ReadError("hunter2"), "the connection broke"),
        (OSError("hunter2"), "could not be asked: OSError"),
    ],
)
def test_what_goes_wrong_is_told_without_the_address(error: Exception, reason: str) -> None:
    def fail(_: httpx2.Request) -> httpx2.Response:
        raise error

    assert told(fail)[0] == Retry(reason)


def test_an_answer_that_does_not_come_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_SECONDS", 0.05)

    async def hang(_: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(3600)
        raise AssertionError

    async def tell() -> Outcome:
        return await build(SINK, httpx2.MockTransport(hang)).tell(BATCH)

    assert asyncio.run(tell()) == Retry("no answer within 0.05 s")


def test_success_is_success_whatever_comes_with_it() -> None:
    read = 0

    async def gigabyte() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x" * 8192

    assert told(lambda _: httpx2.Response(200, content=gigabyte()))[0] == Done()
    assert read < 100

    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise httpx2.ReadError("broken")

    assert told(lambda _: httpx2.Response(200, content=broken()))[0] == Done()
