"""The front's process: listens beside the service, and ends within a second of it.

`python -m ledger.front.process`, started as `ledger.server.alongside` says.
"""

import asyncio
import math
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from functools import partial
from uuid import UUID

import msgspec
import structlog
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger import archive_folder
from ledger.console.app import Console
from ledger.console.service import ServiceApi
from ledger.console.sessions import ConsoleSessions
from ledger.console.slices import Slices
from ledger.front import sse
from ledger.front.access import Access
from ledger.front.app import Front
from ledger.front.figures import Figures
from ledger.front.hub import Hub
from ledger.front.orders import FrontOrders
from ledger.front.proxy import Proxy
from ledger.front.streams import Streams
from ledger.http.asked_about import AskedAbout
from ledger.http.auth import KeyRing, Keys
from ledger.http.delegation import Delegation
from ledger.http.grants import Tokens
from ledger.http.request_times import TimedApp
from ledger.ingest.clock import Clock
from ledger.server import alongside
from ledger.server.connections import FILLED
from ledger.server.descriptors import room_for
from ledger.server.http_server import HttpServer, bind
from ledger.settings import ApiKeySettings, Listen
from ledger.slices.archived import ArchivePlace
from ledger.store import api_keys, identity, session, stream_tokens
from ledger.store.ledger import translated
from ledger.working_state import asked

log = structlog.get_logger()

NICENESS = 5
"""Ingest comes first."""

OTHERS = 1_024
"""Connections beside those of streams: requests to the API, and those who have not asked yet."""


SEND_BUFFER_BYTES = 128 * 1024
"""The system doubles it; by default it would grow to megabytes for each reader."""


async def serve(orders: FrontOrders, stop: asyncio.Event, new: alongside.NewOrders[FrontOrders]) -> None:
    """Serve until `stop` is set. Raises LedgerError where it cannot."""
    async with AsyncExitStack() as stack:
        keys = KeyRing(lambda: _load_keys(orders.database_url), _fixed(orders))
        hub = Hub(
            lambda: _connect(orders.database_url), lambda connection: identity.read(connection).epoch, Clock().now
        )
        about = AskedAbout(
            orders.asked_again_seconds, lambda uids: _tell_asked(orders.database_url, uids), lambda: hub.audience.named
        )
        hub.audience.on_watch = about.note
        tokens = Tokens(lambda: _load_generation(orders.database_url), orders.token_roots)
        access = Access(keys, tokens)
        streams = Streams(hub, access, orders.connections)
        proxy = Proxy(orders.service, access.expect_known)
        stack.push_async_callback(proxy.close)
        bound = bind(Listen(*orders.listen), "front_listen")
        # Inherited by each connection: of a reader who takes nothing, no more than this waits in the system.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        console = _console(orders, keys, streams, stack)
        figures = Figures(lambda: streams.number, orders.connections)
        app = Front(streams, proxy, console, figures, frozenset(orders.origins), orders.metrics_scope)
        timed = TimedApp(app, figures.registry, rest="console")
        http = HttpServer(timed, bound, room_for(most_connections(orders.connections)), websockets=True)
        streams.start()
        about.start()
        stack.push_async_callback(about.stop)
        http.start()
        changing = set[asyncio.Task[None]]()

        def change(changed: FrontOrders) -> None:
            keys.fix(_fixed(changed))
            app.change(frozenset(changed.origins), changed.metrics_scope)
            task = asyncio.create_task(about.change(changed.asked_again_seconds))
            changing.add(task)
            task.add_done_callback(changing.discard)

        new.follow(change)
        log.info("front_listening", address="http://{}:{}".format(*orders.listen), pid=os.getpid())
        await stop.wait()
        await streams.stop()
        await http.stop()


def _fixed(orders: FrontOrders) -> list[ApiKeySettings]:
    return [ApiKeySettings(each.name, frozenset(each.scopes), each.key) for each in orders.keys]


def _console(orders: FrontOrders, keys: KeyRing, streams: Streams, stack: AsyncExitStack) -> Console:
    def connect() -> AbstractContextManager[Connection[TupleRow]]:
        return _connected(orders.database_url)

    service = ServiceApi(orders.service, Delegation(orders.token_roots))
    stack.push_async_callback(service.close)
    stream = partial(sse.stream, streams)
    archive = ArchivePlace(orders.database_url, archive_folder.read(orders.archive_dir))
    return Console(ConsoleSessions(connect, keys), service, stream, Slices(connect, archive), Clock().now)


@contextmanager
def _connected(database_url: str) -> Iterator[Connection[TupleRow]]:
    with translated(), session.connect(database_url, "console") as connection:
        yield connection


def most_connections(streams: int) -> int:
    """So many that the streams alone never make it crowded."""
    return math.ceil((streams + OTHERS) / FILLED)


def _connect(database_url: str) -> Connection[TupleRow]:
    with translated():
        return session.connect(database_url, "front")


def _tell_asked(database_url: str, uids: Iterable[str]) -> None:
    """Where somebody keeps hot users, twice a second at most."""
    with translated(), session.connect(database_url, "front") as connection:
        asked.tell(connection, uids)


def _load_keys(database_url: str) -> Keys:
    """Once a second at most, so that no connection is kept for it."""
    with translated(), session.connect(database_url, "front") as connection:
        return api_keys.load_active(connection)


def _load_generation(database_url: str) -> UUID:
    with translated(), session.connect(database_url, "front") as connection:
        return stream_tokens.generation(connection)


def main() -> None:
    """Serve as the first line of standard input says."""
    alongside.run("front", msgspec.json.Decoder(FrontOrders).decode, serve, niceness=NICENESS)


if __name__ == "__main__":
    main()
