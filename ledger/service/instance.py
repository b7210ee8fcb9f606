"""One instance of the service: its parts built in order, run until it is asked to stop, and taken down in order."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from threading import BoundedSemaphore
from typing import Any
from uuid import UUID

import structlog
from fastapi import FastAPI
from msgspec.structs import replace
from psycopg import Connection

from ledger.http.app import create_app
from ledger.http.asked_about import AskedAbout
from ledger.http.auth import KeyRing, Keys
from ledger.http.counters import Counters
from ledger.http.forwarding import Forwarding
from ledger.http.grants import Tokens
from ledger.http.kept_windows import KeptWindows
from ledger.http.outages import Outages
from ledger.http.readiness import Database, SourceStreams
from ledger.http.refusals import Refusals
from ledger.http.representation import Representations
from ledger.http.request_times import TimedApp
from ledger.http.senders import Senders
from ledger.http.state import Services
from ledger.ingest.announce import Configuration
from ledger.ingest.clock import Clock
from ledger.ingest.figures import IngestFigures
from ledger.ingest.intake import Intake
from ledger.ingest.writer import Limits, Writer
from ledger.reconcile.service import Reconciliation
from ledger.server import neighbours
from ledger.server.descriptors import room_for
from ledger.server.http_server import HttpServer, bind
from ledger.server.neighbours import Neighbour
from ledger.service.alerts import alerting_of
from ledger.service.announcing import Announcing
from ledger.service.canaries import canaries_of
from ledger.service.pools import Pools, opened, sizes_for
from ledger.service.processes import processes
from ledger.service.went_back import WentBackWatch
from ledger.settings import ADMIN_KEY_FILE, Settings, known_seal_keys, sealing_key, webhook_secrets
from ledger.sources.wukongim.query_node import QueryNode
from ledger.spool.figures import watch_spool
from ledger.spool.files import SpoolFiles
from ledger.spool.leftovers import left_in
from ledger.spool.spool import Spool
from ledger.store import api_keys, identity, migrate, seals, session, shared_secrets, stream_tokens
from ledger.store.data_folder import DataFolder, unusable
from ledger.store.identity import Identity
from ledger.store.ledger import Ledger, translated
from ledger.store.pulse import Pulse
from ledger.store.recorder import knows_instance
from ledger.store.seal import SealKey, seal_keys
from ledger.working_state import asked
from projections.queries.reach import ReachReader
from projections.queries.reader import PresenceReader
from projections.queries.rule_folds import RuleFolds

log = structlog.get_logger()

PAST_CONNECTIONS = 3
"""Of those of the ledger, for questions about the past."""
LARGE_BODIES = 4
"""Questions of megabytes that are read at once."""
DRAIN_SECONDS = 2.0


@asynccontextmanager
async def running(settings: Settings, folder: DataFolder, database_url: str) -> AsyncIterator[FastAPI]:
    """An instance on a database that answers: migrated, announced, its app ready to be served.

    Leaving commits what was accepted, records the stop and closes everything. Raises LedgerError.
    """
    async with AsyncExitStack() as stack:
        if settings.front_listen is not None:
            # The front has its own; a port that another program holds is told of before anything is begun.
            bind(settings.front_listen, "front_listen").close()
        sizes = await asyncio.to_thread(sizes_for, database_url, settings)
        await asyncio.to_thread(migrate.apply, database_url)
        found = await asyncio.to_thread(_take_place, settings, folder, database_url)
        seal_key = SealKey(sealing_key(settings, folder.secret))
        ledger = await asyncio.to_thread(Ledger, database_url, seal_key, sizes.ledger)
        stack.callback(ledger.close)
        _ensure_admin_key(ledger, folder)
        _warn_of_another_key(ledger, settings)
        pools = await stack.enter_async_context(opened(database_url, sizes))
        past = max(1, min(PAST_CONNECTIONS, sizes.ledger - 2))
        spooled = await asyncio.to_thread(_spool_files, settings, folder, found.ledger)
        services = _services(settings, folder, ledger, pools, past, database_url, found.ledger, spooled)
        announcing = Announcing(ledger, services.instance, _configurations(settings), services.clock.now)
        await announcing.start()
        stack.push_async_callback(announcing.stop)
        stack.push_async_callback(services.forwarding.close)
        watch = WentBackWatch(ledger, (services.reader.forget, services.rule_folds.forget), announcing.again)
        watch.start()
        stack.push_async_callback(watch.stop)
        services.asked.start()
        stack.push_async_callback(services.asked.stop)
        services.writer.start()
        stack.push_async_callback(_drain, services)
        if services.spool is not None:
            services.spool.start()
            stack.push_async_callback(services.spool.stop)
        services.reconciliation.start()
        stack.push_async_callback(services.reconciliation.stop)
        roots = stream_tokens.roots((seal_key.text, *known_seal_keys(settings)))
        for process in processes(settings, database_url, roots):
            process.start()
            services.counters.processes.watch(process.name, partial(getattr, process, "pid"))
            stack.push_async_callback(process.stop)
        alerting = alerting_of(settings, services, database_url)
        alerting.start()
        stack.push_async_callback(alerting.stop)
        tokens = Tokens(lambda: _load_generation(ledger), roots)
        canaries = canaries_of(settings, services, tokens)
        canaries.start()
        stack.push_async_callback(canaries.stop)
        app = create_app(services, KeyRing(lambda: _load_keys(ledger), settings.api_keys), tokens)
        app.state.figures.alerts_here = alerting.on
        yield app


async def serve(
    settings: Settings, folder: DataFolder, database_url: str, bound: socket.socket, stop: asyncio.Event
) -> None:
    """Serve on a socket that `bind` made, until `stop` is set. Raises LedgerError where it cannot start."""
    is_first_start = not (folder.path / ADMIN_KEY_FILE).exists()
    async with running(settings, folder, database_url) as app:
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
        try:
            await stop.wait()
        finally:
            log.info("stopping")
            await http.stop()


def _take_place(settings: Settings, folder: DataFolder, database_url: str) -> Identity:
    """See that nothing is in the way, on the port or with other secrets, before anything else is written."""
    with translated(), session.connect(database_url, "start") as connection:
        neighbours.expect_ours(settings.listen, lambda other: _serves_this(connection, other))
        for name in shared_secrets.agree(connection, settings, folder, settings.sources):
            log.warning("secret_replaced", name=name, way_out="give it to all instances, and to the nodes")
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


def _services(
    settings: Settings,
    folder: DataFolder,
    ledger: Ledger,
    pools: Pools,
    past: int,
    database_url: str,
    ledger_id: str,
    spooled: SpoolFiles | None,
) -> Services:
    names = {source.name: [node.name for node in source.nodes] for source in settings.sources}
    counters, clock = Counters(names, settings.data_dir), Clock()
    figures = IngestFigures(counters.registry, names)
    intake = Intake(settings.queue_items, settings.queue_bytes, settings.store_wait_seconds)
    limits = Limits(settings.group_items, settings.rejected_bytes)
    figures.watch(intake)
    spool = None if spooled is None else Spool(intake, spooled, settings.group_items, clock.now)
    watch_spool(counters.registry, spool)
    secrets_of = {
        (source.name, node.name): webhook_secrets(source, folder.secret)
        for source in settings.sources
        for node in source.nodes
    }
    instance = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    nodes = {
        source.name: [QueryNode(n.name, n.api_url, n.token, source.profile_for(n), n.api_ca_file) for n in source.nodes]
        for source in settings.sources
    }
    drift_window = settings.alerts.of("drift_rate", "window_seconds")
    reconciliation = Reconciliation(ledger, database_url, instance, clock.now, nodes, counters.registry, drift_window)
    if spool is not None:
        reconciliation.waits = lambda: spool.is_late
    return Services(
        settings=settings,
        instance=instance,
        ledger_id=ledger_id,
        ledger=ledger,
        pool=pools.short,
        pulse=Pulse(database_url),
        reader=PresenceReader(pools.short, pools.large, clock.now),
        reach=ReachReader(pools.large, ledger, settings.reach, clock.now),
        past=BoundedSemaphore(past),
        rule_folds=RuleFolds(),
        intake=intake,
        spool=spool,
        writer=Writer(ledger, intake, limits, figures),
        reconciliation=reconciliation,
        streams=SourceStreams(ledger, [source.name for source in settings.sources]),
        database=Database(ledger, pools.short, intake, lambda: reconciliation.trouble),
        clock=clock,
        asked=AskedAbout(settings.asked_again_seconds, lambda uids: _tell_asked(ledger, uids)),
        list_changes=asyncio.Lock(),
        large_bodies=asyncio.Semaphore(LARGE_BODIES),
        representations=Representations(),
        counters=counters,
        forwarding=Forwarding({source.name: source for source in settings.sources}, counters),
        refusals=Refusals(
            names, counters.registry, count=lambda source, node: counters.delivered(source, node, "forbidden")
        ),
        senders=Senders(),
        outages=Outages.none_yet(),
        loss_windows=KeptWindows([source.name for source in settings.sources]),
        hook_secrets=secrets_of,
        no_secrets=[secrets.token_urlsafe(32)],
    )


def _spool_files(settings: Settings, folder: DataFolder, ledger_id: str) -> SpoolFiles | None:
    """The spool's files; None where it is off and nothing was left in it. Raises LedgerError."""
    path = folder.path / "spool"
    if not settings.spool_bytes and not left_in(path):
        return None
    try:
        return SpoolFiles(path, settings.spool_bytes, ledger_id)
    except OSError as error:
        raise unusable(path, error) from error


def _configurations(settings: Settings) -> dict[str, Configuration]:
    """What the rules read of each source."""
    return {
        source.name: Configuration(
            replace(settings.policy, dark_seconds=source.dark_seconds),
            source.profile,
            {node.name: source.profile_for(node) for node in source.nodes},
        )
        for source in settings.sources
    }


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


def _tell_asked(ledger: Ledger, uids: Iterable[str]) -> None:
    with ledger.connection() as connection:
        asked.tell(connection, uids)


async def _drain(services: Services) -> None:
    """Commit what was accepted."""
    services.intake.close()
    if not await asyncio.to_thread(services.writer.join, DRAIN_SECONDS):
        log.error("stopped_with_webhooks_unanswered", reason="PostgreSQL did not take them in time")
