"""One instance of the service: its parts built in order, run until it is asked to stop, and taken down in order."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import structlog
from fastapi import FastAPI
from psycopg import Connection

from ledger.alerting.watch import Alerting
from ledger.errors import LedgerError
from ledger.http.app import create_app
from ledger.http.auth import KeyRing, Keys
from ledger.http.grants import Tokens
from ledger.http.request_times import TimedApp
from ledger.http.state import Services
from ledger.last_known.following import Following
from ledger.server import neighbours, notify
from ledger.server.descriptors import room_for
from ledger.server.http_server import HttpServer, bind
from ledger.server.neighbours import Neighbour
from ledger.service.alerts import alerting_of
from ledger.service.announcing import Announcing
from ledger.service.archiver import Archiver
from ledger.service.assembly import assembled, spool_files
from ledger.service.canaries import canaries_of
from ledger.service.erasures import Erasures
from ledger.service.of_settings import configurations
from ledger.service.partitions import PartitionKeeper
from ledger.service.pools import opened, route_for, sizes_for
from ledger.service.processes import Alongside
from ledger.service.reload import Parts, Reload
from ledger.service.went_back import WentBackWatch
from ledger.settings import ADMIN_KEY_FILE, Settings, known_seal_keys, sealing_key
from ledger.store import api_keys, identity, migrate, seals, session, shared_secrets, stream_tokens
from ledger.store.data_folder import DataFolder
from ledger.store.identity import Identity
from ledger.store.ledger import Ledger, translated
from ledger.store.recorder import knows_instance
from ledger.store.seal import SealKey, seal_keys

log = structlog.get_logger()

PAST_CONNECTIONS = 3
"""Of those of the ledger, for questions about the past."""
DRAIN_SECONDS = 2.0


class _Keeper(Protocol):
    """What is seen to beside the answers, from `start` to `stop`."""

    def start(self) -> None: ...

    async def stop(self) -> None: ...


@asynccontextmanager
async def running(
    settings: Settings, folder: DataFolder, database_url: str, read: Callable[[], Settings]
) -> AsyncIterator[FastAPI]:
    """An instance on a database that answers: migrated, announced, its app ready to be served.

    Connections over `database_url` are sessions; where the settings name a pooler, the pools go through that.

    `app.state.reload` takes the settings anew, as `read` gives them; `app.state.expect_end` says that it is stopped.
    Leaving commits what was accepted, records the stop and closes everything. Raises LedgerError.
    """
    async with AsyncExitStack() as stack:
        if settings.front_listen is not None:
            # The front has its own; a port that another program holds is told of before anything is begun.
            bind(settings.front_listen, "front_listen").close()
        sizes = await asyncio.to_thread(sizes_for, database_url, settings)
        route = await asyncio.to_thread(route_for, database_url, settings)
        await asyncio.to_thread(migrate.apply, database_url)
        found = await asyncio.to_thread(_take_place, settings, folder, database_url)
        seal_key = SealKey(sealing_key(settings, folder.secret))
        ledger = await asyncio.to_thread(Ledger, route, seal_key, sizes.ledger)
        stack.callback(ledger.close)
        _ensure_admin_key(ledger, folder)
        _warn_of_another_key(ledger, settings)
        pools = await stack.enter_async_context(opened(route, sizes))
        past = max(1, min(PAST_CONNECTIONS, sizes.ledger - 2))
        spooled = await asyncio.to_thread(spool_files, settings, folder, found.ledger)
        services = assembled(
            settings, folder, ledger, pools, past, database_url, route, found.ledger, seal_key, spooled
        )
        roots = stream_tokens.roots((seal_key.text, *known_seal_keys(settings)))
        tokens = Tokens(lambda: _load_generation(ledger), roots)
        app = create_app(services, KeyRing(lambda: _load_keys(ledger), settings.api_keys), tokens)
        announcing = Announcing(ledger, services.instance, configurations(settings), services.clock.now)
        await announcing.start()
        stack.push_async_callback(announcing.stop)
        stack.push_async_callback(lambda: app.state.services.forwarding.close())  # noqa: PLW0108  (those in force then)
        watch = WentBackWatch(ledger, list(_kept(services)), announcing.again)
        erasures = Erasures(ledger, database_url, lambda: app.state.services.settings, services.clock.now)
        keepers: list[_Keeper | None] = [watch, PartitionKeeper(ledger, database_url), services.asked, services.reads]
        archiver = app.state.archiver = Archiver(
            database_url, seal_key, lambda: app.state.services.settings, services.clock.now
        )
        _start(stack, *filter(None, (*keepers, _following(ledger, services), erasures, archiver)))
        services.writer.start()
        stack.push_async_callback(_drain, services)
        if services.spool is not None:
            services.spool.start()
            stack.push_async_callback(services.spool.stop)
        services.reconciliation.start()
        stack.push_async_callback(services.reconciliation.stop)
        processes = Alongside(database_url, roots, services.counters.processes.watch)
        stack.push_async_callback(processes.stop)
        await _start_alongside(processes, services, archiver)
        canaries = canaries_of(settings, services, tokens)
        canaries.start()
        stack.push_async_callback(canaries.stop)

        def make_alerting(changed: Settings, of: Services) -> Alerting:
            return alerting_of(changed, of, database_url, lambda: archiver.run)

        parts = Parts(
            folder, database_url, announcing, processes, canaries, make_alerting(settings, services), make_alerting
        )
        parts.alerting.start()
        stack.push_async_callback(parts.stop)
        app.state.figures.alerts_here = parts.alerting.on
        app.state.reload = Reload(app, parts, read)
        app.state.expect_end = processes.expect_end
        yield app


def _following(ledger: Ledger, services: Services) -> Following | None:
    """What keeps right what is answered while PostgreSQL is away."""
    if services.last_known is None:
        return None
    return Following(ledger, services.last_known, services.clock.now, services.answering.note_heard)


def _kept(services: Services) -> Iterator[Callable[[], None]]:
    """What forgets whatever is kept of the ledger in memory."""
    yield services.reader.forget
    yield services.rule_folds.forget
    yield services.summaries.forget
    if services.last_known is not None:
        yield services.last_known.forget


def _start(stack: AsyncExitStack, *keepers: _Keeper) -> None:
    for keeper in keepers:
        keeper.start()
        stack.push_async_callback(keeper.stop)


async def _start_alongside(processes: Alongside, services: Services, archiver: Archiver) -> None:
    services.counters.processes.watch("archiver", lambda: archiver.pid)
    await processes.change(services.settings)
    if services.spool is not None:
        services.spool.tell_of_drain(processes.spool_drains)


class Wishes(NamedTuple):
    """What the service is asked by signals."""

    stop: asyncio.Event
    reload: asyncio.Event


async def serve(
    settings: Settings,
    folder: DataFolder,
    database_url: str,
    bound: socket.socket,
    wishes: Wishes,
    *,
    read: Callable[[], Settings],
) -> None:
    """Serve on a socket that `bind` made, until a stop is wished. `read` reads the settings anew.

    Raises LedgerError where it cannot start.
    """
    is_first_start = not (folder.path / ADMIN_KEY_FILE).exists()
    async with running(settings, folder, database_url, read) as app:
        counters = app.state.services.counters
        timed = TimedApp(app, counters.registry, known=(("hooks", "POST", 200),))
        http = HttpServer(timed, bound, room_for(settings.max_connections), counters.count_closed)
        await asyncio.to_thread(_listen, settings, database_url, http)
        http.start()
        log.info("listening", address=f"http://{settings.listen}", pid=os.getpid())
        if is_first_start:
            log.info(
                "first_start",
                admin_key=str(folder.path / ADMIN_KEY_FILE),
                api=f"http://{settings.listen}/docs (password: the admin key)",
                console=f"http://{settings.front_listen}/" if settings.front_listen is not None else "",
                webhooks="`presence-ledger config wukongim` prints what to paste into each node",
            )
        notify.ready()
        tasks = [
            asyncio.create_task(_reload_on_signals(wishes.reload, app.state.reload)),
            asyncio.create_task(notify.keep_watchdog_quiet()),
        ]
        try:
            await wishes.stop.wait()
        finally:
            app.state.expect_end()
            log.info("stopping")
            notify.stopping()
            await app.state.reload.end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await http.stop()


async def _reload_on_signals(wished: asyncio.Event, reload: Reload) -> None:
    while True:
        await wished.wait()
        wished.clear()
        notify.reloading()
        try:
            await reload("SIGHUP")
        except LedgerError:
            pass  # which it has logged
        except Exception:  # a defect must be seen, and must not keep the next one from being taken
            log.exception("reload_failed")
        notify.ready()


def _take_place(settings: Settings, folder: DataFolder, database_url: str) -> Identity:
    """See that nothing is in the way, on the port or with other secrets, before anything else is written."""
    with translated(), session.connect(database_url, "start") as connection:
        neighbours.expect_ours(settings.listen, lambda other: _serves_this(connection, other))
        for name in shared_secrets.agree(connection, settings, folder, settings.sources):
            log.warning(
                "secret_replaced", name=name, way_out="give it to all instances, a webhook secret to the nodes, too"
            )
        return identity.read(connection)


def _listen(settings: Settings, database_url: str, http: HttpServer) -> None:
    """Begin to listen, unless an instance of another ledger has begun meanwhile. Raises PortTaken."""
    with (
        neighbours.one_at_a_time(settings.listen.port),
        translated(),
        session.connect(database_url, "start") as connection,
    ):
        neighbours.expect_ours(settings.listen, lambda other: _serves_this(connection, other))
        http.listen()


def _serves_this(connection: Connection[Any], other: Neighbour) -> bool:
    if other.ledger is not None:
        return other.ledger == identity.read(connection).ledger
    # A version before ledgers had ids: it put its start on record.
    return other.instance is not None and knows_instance(connection, other.instance)


def _ensure_admin_key(ledger: Ledger, folder: DataFolder) -> None:
    key = folder.secret(ADMIN_KEY_FILE, api_keys.new_key)
    with ledger.connection() as connection:
        api_keys.ensure_admin(connection, key)


def _warn_of_another_key(ledger: Ledger, settings: Settings) -> None:
    """Nothing is refused for it, since every seal tells its key; but nobody can verify with one of the keys alone."""
    with ledger.connection() as connection:
        last = seals.last_key(connection)
    if last is not None and last not in seal_keys(known_seal_keys(settings)):
        log.warning(
            "sealed_with_another_key",
            key=last.hex(),
            way_out="set seal_keys, the same for all instances of a database, older keys after the newest",
        )


def _load_keys(ledger: Ledger) -> Keys:
    with ledger.connection() as connection:
        return api_keys.load_active(connection)


def _load_generation(ledger: Ledger) -> UUID:
    with ledger.connection() as connection:
        return stream_tokens.generation(connection)


async def _drain(services: Services) -> None:
    """Commit what was accepted."""
    services.intake.close()
    if not await asyncio.to_thread(services.writer.join, DRAIN_SECONDS):
        # Nobody was told that they were taken: they come again.
        log.warning("stopped_with_webhooks_unanswered", reason="PostgreSQL did not take them in time")
