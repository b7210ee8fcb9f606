"""Why no answer came, in words: each kind of broken connection, told apart without the library's own texts."""

import asyncio
import errno
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import httpx2
import pytest
import uvloop

from ledger.sources.wukongim.answers import Unanswered
from ledger.sources.wukongim.exchange import Answer, Exchange

SECRET = "http://user:passw0rd@node"


def ask(error: Exception, cause: Exception | None = None) -> Answer | Unanswered:
    """What an exchange makes of an error of its transport that came from another one."""

    def broken(_: httpx2.Request) -> httpx2.Response:
        raise error from cause

    async def test() -> Answer | Unanswered:
        exchange = Exchange("http://node", None, 2.0, httpx2.MockTransport(broken))
        try:
            return await exchange.ask("GET", "/varz", most_bytes=1000)
        finally:
            await exchange.close()

    return asyncio.run(test())


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, SECRET), Unanswered("connection refused", refused=True)),
        (
            ExceptionGroup(SECRET, [OSError(errno.ENETUNREACH, SECRET), ConnectionRefusedError(SECRET)]),
            Unanswered("connection refused", refused=True),
        ),
        (socket.gaierror(SECRET), Unanswered("the host of api_url is not known")),
        (ssl.SSLError(SECRET), Unanswered("no TLS connection: handshake failed or certificate not trusted")),
        (OSError(errno.EHOSTUNREACH, SECRET), Unanswered("no route to the host")),
        (OSError(errno.EADDRNOTAVAIL, SECRET), Unanswered("no connection")),
        (None, Unanswered("no connection")),
    ],
)
def test_why_no_connection_was_made(cause: Exception | None, expected: Unanswered) -> None:
    assert ask(httpx2.ConnectError(SECRET), cause) == expected


def test_a_cause_behind_a_cause_is_found() -> None:
    wrapped = OSError("All connection attempts failed")
    wrapped.__cause__ = ConnectionRefusedError(SECRET)
    assert ask(httpx2.ConnectError(SECRET), wrapped) == Unanswered("connection refused", refused=True)


def test_causes_that_lead_in_a_circle_come_to_an_end() -> None:
    first, second = OSError(SECRET), OSError(SECRET)
    first.__cause__, second.__cause__ = second, first
    assert ask(httpx2.ConnectError(SECRET), first) == Unanswered("no connection")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx2.ConnectTimeout(SECRET), "no connection within 2 s"),
        (httpx2.ReadError(SECRET), "the connection broke before the whole answer had come"),
        (httpx2.WriteError(SECRET), "the connection broke before the whole answer had come"),
        (httpx2.RemoteProtocolError(SECRET), "the connection broke before the whole answer had come"),
        (httpx2.PoolTimeout(SECRET), "the connection broke before the whole answer had come"),
        (AttributeError(SECRET), "the connection broke before the whole answer had come"),
        (KeyError(SECRET), "the question could not be sent (KeyError)"),
        (ExceptionGroup(SECRET, [OSError(SECRET)]), "the question could not be sent (ExceptionGroup)"),
        (httpx2.LocalProtocolError(SECRET), "the question could not be sent (LocalProtocolError)"),
        (UnicodeError(SECRET), "the question could not be sent (UnicodeError)"),
        (RuntimeError(SECRET), "the question could not be sent (RuntimeError)"),
    ],
)
def test_other_failures(error: Exception, reason: str) -> None:
    assert ask(error) == Unanswered(reason)


def test_an_error_in_the_place_of_a_cancellation_gives_way_to_it() -> None:
    """A task that missed its cancellation would go on for ever."""

    class Breaking(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            try:
                await asyncio.Event().wait()
            finally:
                raise AttributeError(SECRET)

    async def test() -> None:
        exchange = Exchange("http://node", None, 2.0, Breaking())
        asking = asyncio.create_task(exchange.ask("GET", "/varz", most_bytes=1000))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await exchange.ask("GET", "/varz", most_bytes=1000)
        await exchange.close()

    asyncio.run(test())


@contextmanager
def resetting() -> Iterator[str]:
    """A port that accepts connections and resets them, as a node does that is being stopped -> its address."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=512)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    taken, _ = listener.accept()
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    taken.close()

        threads = [threading.Thread(target=serve, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def test_whatever_a_reset_does_to_the_event_loop_is_one_failed_question() -> None:
    """Under uvloop one in some hundred raises an AttributeError out of the library."""

    async def test(url: str) -> set[Answer | Unanswered]:
        exchange = Exchange(url, None, 60.0)
        try:
            found: set[Answer | Unanswered] = set()
            for _ in range(40):
                found |= set(await asyncio.gather(*(exchange.ask("GET", "/varz", most_bytes=1000) for _ in range(20))))
            return found
        finally:
            await exchange.close()

    with resetting() as url, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(test(url))
    broke = Unanswered("the connection broke before the whole answer had come")
    assert found <= {broke, Unanswered("no connection")}
    assert broke in found
