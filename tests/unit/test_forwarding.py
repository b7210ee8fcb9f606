"""Forwarding to a business server: the same bytes there, its own answer back, and what is said where there is none."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest

from ledger.domain.profile import Profile
from ledger.forwarding import forwarder as forwarder_module
from ledger.forwarding import relay as relay_module
from ledger.forwarding.forwarder import Forwarded, Forwarder, NotForwarded, Webhook, seconds_for
from ledger.forwarding.relay import NodeRelay
from tests.support.query_api import GARBAGE, HALF, HANG, HOST, RESET, SLOW_BODY, Said, listening, said
from tests.support.service import PATIENCE_SECONDS

HEADERS = [(b"host", b"ledger:8640"), (b"user-agent", b"Go-http-client/1.1"), (b"content-type", b"application/json"),
           (b"accept-encoding", b"gzip"), (b"connection", b"keep-alive"), (b"content-length", b"7")]  # fmt: skip
NOTIFY = Webhook(b"event=msg.notify&trace=a%20b%2Fc+d", HEADERS, b'[{"a" :\xff 1}]')


@asynccontextmanager
async def forwarding(url: str) -> AsyncIterator[Forwarder]:
    """A forwarder to this address."""
    forwarder = Forwarder(url)
    try:
        yield forwarder
    finally:
        await forwarder.close()


def test_the_request_goes_on_as_it_came() -> None:
    async def test() -> None:
        async with listening(said(200)) as app, forwarding(f"{app.url}/v1/webhook") as forwarder:
            await forwarder.forward(NOTIFY, PATIENCE_SECONDS)
            [asked] = app.asked
            assert (asked.method, asked.target) == ("POST", "/v1/webhook?event=msg.notify&trace=a%20b%2Fc+d")
            assert asked.body == NOTIFY.body
            assert asked.headers == {
                "host": f"{HOST}:{app.port}",
                "user-agent": "Go-http-client/1.1",
                "content-type": "application/json",
                "accept-encoding": "gzip",
                "content-length": str(len(NOTIFY.body)),
            }

    asyncio.run(test())


@pytest.mark.parametrize(
    ("answer", "status", "body", "outcome"),
    [
        (said(200, b"\x1f\x8bpacked", Content_Encoding="gzip"), 200, b"\x1f\x8bpacked", "delivered"),
        (said(204), 204, b"", "refused"),
        (said(302, Location="http://127.0.0.1:1/"), 302, b"", "refused"),
        (said(401, "no"), 401, b"no", "refused"),
        (said(500, '{"msg":"boom"}'), 500, b'{"msg":"boom"}', "refused"),
    ],
)
def test_its_answer_is_the_answer(answer: Said, status: int, body: bytes, outcome: str) -> None:
    async def test() -> None:
        async with listening(answer) as app, forwarding(app.url) as forwarder:
            came = await forwarder.forward(NOTIFY, PATIENCE_SECONDS)
            assert isinstance(came, Forwarded)
            assert (came.status, came.body, came.outcome) == (status, body, outcome)
            assert (b"Content-Type", b"application/json") in came.headers
            assert not {name.lower() for name, _ in came.headers} & {b"content-length", b"date", b"connection"}
            assert len(app.asked) == 1

    asyncio.run(test())


@pytest.mark.parametrize("broken", [RESET, GARBAGE, HALF])
def test_a_connection_that_breaks_is_tried_once_more_and_then_said(broken: Said) -> None:
    async def test() -> None:
        async with listening(broken) as app, forwarding(app.url) as forwarder:
            answer = await forwarder.forward(NOTIFY, PATIENCE_SECONDS)
            assert isinstance(answer, NotForwarded)
            assert (answer.status, answer.outcome) == (502, "unreachable")
            assert "broke" in answer.reason
            assert len(app.asked) == 2

    asyncio.run(test())


def test_a_kept_alive_connection_that_was_closed_meanwhile_costs_no_attempt() -> None:
    async def test() -> None:
        async with listening(RESET, said(200, b"taken")) as app, forwarding(app.url) as forwarder:
            answer = await forwarder.forward(NOTIFY, PATIENCE_SECONDS)
            assert isinstance(answer, Forwarded)
            assert answer.body == b"taken"

    asyncio.run(test())


@pytest.mark.parametrize("silence", [HANG, SLOW_BODY])
def test_one_that_is_slower_than_the_sender_waits(silence: Said) -> None:
    async def test() -> None:
        async with listening(silence) as app, forwarding(app.url) as forwarder:
            answer = await forwarder.forward(NOTIFY, 0.2)
            assert answer == NotForwarded(504, "timed_out", "the business server did not answer within 0.2 s")

    asyncio.run(test())


def test_one_that_does_not_listen() -> None:
    async def test() -> None:
        with closing(socket.socket()) as unused:
            unused.bind((HOST, 0))
            address = f"http://app:pass-word@{HOST}:{unused.getsockname()[1]}/hook"
            async with forwarding(address) as forwarder:
                answer = await forwarder.forward(NOTIFY, PATIENCE_SECONDS)
                assert answer == NotForwarded(502, "unreachable", "the business server took no connection")

    asyncio.run(test())


def test_an_answer_without_end_is_read_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder_module, "MAX_ANSWER_BYTES", 1000)

    async def test() -> None:
        async with listening(said(200, b"x" * 1001)) as app, forwarding(app.url) as forwarder:
            answer = await forwarder.forward(NOTIFY, PATIENCE_SECONDS)
            assert answer == NotForwarded(502, "refused", "its answer is larger than 1000 bytes")

    asyncio.run(test())


@pytest.mark.parametrize(
    ("profile", "seconds"), [(Profile.V1, 4.5), (Profile.V2_1, 4.5), (Profile.V2_2, 9.5), (Profile.V3, 4.5)]
)
def test_we_give_up_before_the_sender_does(profile: Profile, seconds: float) -> None:
    assert seconds_for(profile) == seconds


class TestRelay:
    """Presence that is sent on after its commit."""

    @pytest.fixture(autouse=True)
    def at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(relay_module, "RETRY_DELAY_SECONDS", 0.0)

    def test_one_after_another_in_order_whatever_it_takes(self) -> None:
        async def test() -> None:
            outcomes: Counter[str] = Counter()
            async with (
                listening(said(500), said(204), RESET, said(200)) as app,
                forwarding(app.url) as forwarder,
            ):
                relay = NodeRelay(forwarder, PATIENCE_SECONDS, lambda outcome: outcomes.update([outcome]))
                for number in range(5):
                    relay.offer(NOTIFY._replace(body=b"%d" % number))
                await relay.drain(PATIENCE_SECONDS)
                bodies = [asked.body for asked in app.asked]
                assert bodies == sorted(bodies)
                assert sorted(set(bodies)) == [b"0", b"1", b"2", b"3", b"4"]
                assert outcomes == {"delivered": 5}

        asyncio.run(test())

    def test_one_that_is_refused_again_and_again_is_given_up_and_the_next_one_goes_on(self) -> None:
        async def test() -> None:
            outcomes: Counter[str] = Counter()
            refusals = [said(500)] * relay_module.ATTEMPTS
            async with listening(*refusals, said(200)) as app, forwarding(app.url) as forwarder:
                relay = NodeRelay(forwarder, PATIENCE_SECONDS, lambda outcome: outcomes.update([outcome]))
                relay.offer(NOTIFY._replace(body=b"first"))
                relay.offer(NOTIFY._replace(body=b"second"))
                await relay.drain(PATIENCE_SECONDS)
                assert [asked.body for asked in app.asked] == [b"first"] * relay_module.ATTEMPTS + [b"second"]
                assert outcomes == {"refused": 1, "delivered": 1}

        asyncio.run(test())

    def test_what_finds_no_room_is_left_out_and_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(relay_module, "MAX_WAITING_BYTES", 10)

        async def test() -> None:
            outcomes: Counter[str] = Counter()
            async with listening(HANG) as app, forwarding(app.url) as forwarder:
                relay = NodeRelay(forwarder, PATIENCE_SECONDS, lambda outcome: outcomes.update([outcome]))
                relay.offer(NOTIFY._replace(body=b"larger than all the room"))
                relay.offer(NOTIFY._replace(body=b"one more"))
                assert outcomes == {"left_out": 1}
                await app.began.wait()
                # A stop waits for it for a moment, no longer.
                await relay.drain(0.01)
                assert outcomes == {"left_out": 2}

        asyncio.run(test())
