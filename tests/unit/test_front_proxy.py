"""What the front hands on to the service: bodies that never hold up others' requests, and addresses of any form."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx2
import pytest

from ledger.errors import StoreUnavailable
from ledger.front import proxied_bodies, proxy
from ledger.front.proxy import Proxy
from ledger.http.bodies import LARGE_BYTES
from ledger.http.problems import Problem
from tests.support.scripted import ScriptedService

KEYED = {b"authorization": b"Bearer key"}
LARGE = b"[" + b" " * LARGE_BYTES + b"]"


@pytest.fixture(autouse=True)
def _requests_may_break_off(service: ScriptedService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the server says nothing about among the tests' own output."""
    monkeypatch.setattr(service.server, "handle_error", lambda *_: None)


async def admit(headers: Mapping[bytes, bytes]) -> None:
    if headers.get(b"authorization") == b"Bearer store":
        raise StoreUnavailable("away")
    if b"authorization" not in headers:
        raise Problem(401, "send an API key")


async def ask(
    front: Proxy,
    *parts: bytes,
    more: bool = False,
    path: bytes = b"/v1/x",
    headers: Mapping[bytes, bytes] = KEYED,
    query: bytes = b"",
) -> int:
    """The status of an answer. The body comes in these parts; with `more` it does not end."""
    left = list(parts)
    length = {b"content-length": b"%d" % (sum(map(len, parts)) + more)} if parts or more else {}
    scope: Any = {
        "type": "http",
        "method": "POST" if length else "GET",
        "path": "/v1/x",
        "raw_path": path,
        "query_string": query,
        "headers": list({**headers, **length}.items()),
    }
    sent: list[Any] = []

    async def receive() -> Any:
        if not left:
            await asyncio.Event().wait()
        part = left.pop(0)
        if part == b"gone":
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": bool(left) or more}

    async def send(message: Any) -> None:
        sent.append(message)

    await front.hand_on(scope, receive, send)
    status: int = sent[0]["status"]
    return status


def fronted(url: str, test: Any) -> None:
    async def within() -> None:
        front = Proxy(url, admit)
        try:
            async with asyncio.timeout(60):
                await test(front)
        finally:
            await front.close()

    asyncio.run(within())


def test_bodies_that_never_come_hold_up_nobody(service: ScriptedService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "LIMITS", httpx2.Limits(max_connections=2))
    monkeypatch.setattr(proxied_bodies, "LARGE_BODIES", 1)

    async def test(front: Proxy) -> None:
        slow = [asyncio.create_task(ask(front, b"[", more=True)) for _ in range(3)]
        slow += [asyncio.create_task(ask(front, LARGE, more=True)) for _ in range(3)]
        await asyncio.sleep(0)
        assert await ask(front) == 200
        assert await ask(front, b"[", b"]") == 200
        for task in slow:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        assert await ask(front, LARGE[:10], LARGE[10:]) == 200

    fronted(service.url, test)


def test_a_body_has_its_time_and_a_large_one_its_turn(
    service: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxied_bodies, "BODY_SECONDS", 0.05)
    monkeypatch.setattr(proxied_bodies, "LARGE_BODIES", 0)

    async def test(front: Proxy) -> None:
        assert await ask(front, b"[", more=True) == 408
        assert await ask(front, b"[", b"gone") == 400
        assert await ask(front, LARGE) == 503

    fronted(service.url, test)
    assert service.asked == []


def test_a_large_body_that_stops_on_its_way_is_told_so(
    service: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxied_bodies, "BODY_SECONDS", 1.0)
    monkeypatch.setattr(proxied_bodies, "LARGE_BODIES", 1)

    async def test(front: Proxy) -> None:
        assert await ask(front, LARGE, more=True) == 408
        assert await ask(front, LARGE, b"gone") == 400

    fronted(service.url, test)


def test_a_large_body_is_taken_from_those_who_are_known(service: ScriptedService) -> None:
    async def test(front: Proxy) -> None:
        assert await ask(front, LARGE, headers={}) == 401
        assert await ask(front, LARGE, headers={b"authorization": b"Bearer store"}) == 503
        assert await ask(front, b"[]", headers={}) == 200

    fronted(service.url, test)
    assert len(service.asked) == 1


def test_an_address_in_utf_8_is_handed_on_and_one_that_is_none_refused(service: ScriptedService) -> None:
    async def test(front: Proxy) -> None:
        assert await ask(front, path="/v1/users/张三/presence?x".encode(), query="name=三%25".encode()) == 200
        assert await ask(front, path=b"/v1/users/\xff%2F/presence") == 200
        assert await ask(front, path=b"/" + b"a" * 70_000) == 400
        assert await ask(front, query=b"a=\x01") == 400

    fronted(service.url, test)
    assert [each.target for each in service.asked] == [
        "/v1/users/%E5%BC%A0%E4%B8%89/presence?name=%E4%B8%89%25",
        "/v1/users/%FF%2F/presence",
    ]


def test_a_service_that_is_away_is_told_of() -> None:
    async def test(front: Proxy) -> None:
        assert await ask(front) == 503

    fronted("http://127.0.0.1:1", test)
