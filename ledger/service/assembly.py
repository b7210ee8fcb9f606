"""What an instance answers with, made of its parts."""

import asyncio
import secrets
import socket
from collections.abc import Iterable
from functools import partial
from threading import BoundedSemaphore

from ledger.http.asked_about import AskedAbout
from ledger.http.counters import Counters
from ledger.http.forwarding import Forwarding
from ledger.http.kept_windows import KeptWindows
from ledger.http.outages import Outages
from ledger.http.readiness import Database, SourceStreams
from ledger.http.reads import Reads, lost_counter
from ledger.http.refusals import Refusals
from ledger.http.representation import Representations
from ledger.http.senders import Senders
from ledger.http.state import Services
from ledger.http.summaries import Summaries
from ledger.ingest.clock import Clock
from ledger.ingest.figures import IngestFigures
from ledger.ingest.intake import Intake
from ledger.ingest.writer import Limits, Writer
from ledger.last_known.answering import Answering
from ledger.last_known.figures import watch_memory
from ledger.last_known.memory import LastKnown
from ledger.reconcile.service import Reconciliation
from ledger.service.of_settings import drift_window, hook_secrets, node_names, query_nodes
from ledger.service.pools import Pools
from ledger.settings import Settings
from ledger.spool import leftovers
from ledger.spool.figures import watch_spool
from ledger.spool.files import SpoolFiles
from ledger.spool.spool import Spool
from ledger.store import two_ways
from ledger.store.data_folder import DataFolder, unusable
from ledger.store.ledger import Ledger
from ledger.store.pooled import Route
from ledger.store.pulse import Pulse
from ledger.store.seal import SealKey
from ledger.working_state import asked, reads
from ledger.working_state.reads import LookUp
from projections.queries.archived import Archive
from projections.queries.reach import ReachReader
from projections.queries.reader import PresenceReader
from projections.queries.rule_folds import RuleFolds

LARGE_BODIES = 4
"""Questions of megabytes that are read at once."""


def assembled(
    settings: Settings,
    folder: DataFolder,
    ledger: Ledger,
    pools: Pools,
    past: int,
    database_url: str,
    route: Route,
    ledger_id: str,
    seal_key: SealKey,
    spooled: SpoolFiles | None,
) -> Services:
    """What the routes of an instance work with; `past`: so many questions about the past at once."""
    names = node_names(settings)
    counters, clock = Counters(names, settings.data_dir), Clock()
    figures = IngestFigures(counters.registry, names)
    intake = Intake(settings.queue_items, settings.queue_bytes, settings.store_wait_seconds)
    limits = Limits(settings.group_items, settings.rejected_bytes)
    figures.watch(intake)
    spool = None if spooled is None else Spool(intake, spooled, settings.group_items, clock.now)
    watch_spool(counters.registry, spool)
    instance = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    reconciliation = Reconciliation(
        ledger, database_url, instance, clock.now, query_nodes(settings), counters.registry, drift_window(settings)
    )
    lost = lost_counter(counters.registry)
    reader = PresenceReader(pools.short, pools.large, clock.now)
    last_known = None
    if settings.stale_seconds and settings.stale_users:
        last_known = LastKnown(settings.stale_users, settings.stale_seconds, clock.now)
    answering = Answering(reader, last_known)
    watch_memory(counters.registry, last_known, answering)
    writer = Writer(
        ledger, intake, limits, figures, (lambda *_: None) if last_known is None else last_known.note_commit
    )
    if spool is not None:
        reconciliation.waits = lambda: spool.is_late
    return Services(
        settings=settings,
        instance=instance,
        ledger_id=ledger_id,
        ledger=ledger,
        pool=pools.short,
        pulse=Pulse(database_url, two_ways.probe(route)),
        reader=reader,
        last_known=last_known,
        answering=answering,
        summaries=Summaries(reader.summary),
        reach=ReachReader(pools.large, ledger, settings.reach, clock.now),
        past=BoundedSemaphore(past),
        archive=Archive(ledger, database_url, settings.archive_dir),
        rule_folds=RuleFolds(),
        intake=intake,
        spool=spool,
        writer=writer,
        reconciliation=reconciliation,
        streams=SourceStreams(ledger, [source.name for source in settings.sources]),
        database=Database(ledger, pools.short, intake.store, lambda: reconciliation.trouble),
        clock=clock,
        reads=Reads(partial(_store_reads, ledger), clock.now, lost) if settings.reads else None,
        seal_key=seal_key,
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
        hook_secrets=hook_secrets(settings, folder),
        no_secrets=[secrets.token_urlsafe(32)],
    )


def spool_files(settings: Settings, folder: DataFolder, ledger_id: str) -> SpoolFiles | None:
    """The spool's files; None where it is off and nothing was left in it. Raises LedgerError."""
    path = folder.path / leftovers.FOLDER
    if not settings.spool_bytes and not leftovers.left_in(path):
        return None
    try:
        return SpoolFiles(path, settings.spool_bytes, ledger_id)
    except OSError as error:
        raise unusable(path, error) from error


def _tell_asked(ledger: Ledger, uids: Iterable[str]) -> None:
    with ledger.connection() as connection:
        asked.tell(connection, uids)


def _store_reads(ledger: Ledger, batch: str, noted: Iterable[LookUp]) -> None:
    with ledger.connection() as connection, connection.transaction():
        reads.write(connection, batch, noted)
