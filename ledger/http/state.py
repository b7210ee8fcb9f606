"""What the routes work with: one value, built by the service, held by the app."""

from asyncio import Lock, Semaphore
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import BoundedSemaphore

from fastapi import Request
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from ledger.http.asked_about import AskedAbout
from ledger.http.counters import Counters
from ledger.http.forwarding import Forwarding
from ledger.http.kept_windows import KeptWindows
from ledger.http.outages import Outages
from ledger.http.readiness import Database, SourceStreams
from ledger.http.reads import Reads
from ledger.http.refusals import Refusals
from ledger.http.representation import Representations
from ledger.http.senders import Senders
from ledger.http.summaries import Summaries
from ledger.ingest.clock import Clock
from ledger.ingest.intake import Intake
from ledger.ingest.writer import Writer
from ledger.last_known.answering import Answering
from ledger.last_known.memory import LastKnown
from ledger.reconcile.service import Reconciliation
from ledger.settings import Settings
from ledger.spool.spool import Spool
from ledger.store.ledger import Ledger
from ledger.store.pulse import Pulse
from ledger.store.seal import SealKey
from projections.queries.archived import Archive
from projections.queries.reach import ReachReader
from projections.queries.reader import PresenceReader
from projections.queries.rule_folds import RuleFolds


@dataclass(frozen=True)
class Services:
    """The parts of a running instance."""

    settings: Settings
    instance: str
    ledger_id: str
    """Whose requests may come to this port: those of all instances of this ledger."""
    ledger: Ledger
    pool: AsyncConnectionPool[AsyncConnection[TupleRow]]
    pulse: Pulse
    reader: PresenceReader
    last_known: LastKnown | None
    """None: while PostgreSQL is away nothing is answered."""
    answering: Answering
    """Of users as they are now."""
    summaries: Summaries
    reach: ReachReader
    past: BoundedSemaphore
    """Lets so many questions about the past at once to the ledger's connections: webhooks need them, too."""
    archive: Archive
    rule_folds: RuleFolds
    """What they have folded so far of the rules of the past."""
    intake: Intake
    spool: Spool | None
    """None: webhooks are refused while PostgreSQL is away."""
    writer: Writer
    reconciliation: Reconciliation
    streams: SourceStreams
    database: Database
    clock: Clock
    asked: AskedAbout
    reads: Reads | None
    """Who asks about whom; None: nobody wants to know."""
    seal_key: SealKey
    list_changes: Lock
    """Held by the one change of a list that is under way."""
    large_bodies: Semaphore
    """Lets so many large questions be read at once."""
    representations: Representations
    counters: Counters
    forwarding: Forwarding
    refusals: Refusals
    senders: Senders
    outages: Outages
    loss_windows: KeptWindows
    hook_secrets: Mapping[tuple[str, str], Sequence[str]]
    """By source and node."""
    no_secrets: Sequence[str]
    """Random ones, to compare with where a path's names are unknown."""


def get_services(request: Request) -> Services:
    """The services of the app that a request came to."""
    services: Services = request.app.state.services
    return services
