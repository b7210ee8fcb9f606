"""Webhooks that wait in spools beside the ledger: an erasure waits for those that are drained, and names the others."""

import socket
from collections.abc import Iterator

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.instants import to_text
from ledger.domain.observation import SECOND, Instant
from ledger.http.record_answers import SpoolLeftBody
from ledger.http.state import Services
from ledger.ingest.erasing import SpoolHoldsWebhooks
from ledger.spool import leftovers
from ledger.working_state import instance_figures
from ledger.working_state.instance_figures import Spooling


def expect_empty(services: Services, connection: Connection[TupleRow]) -> None:
    """Raises SpoolHoldsWebhooks where webhooks wait in the spool of this instance, or of another that was heard of just
    now."""
    if services.spool is not None and not services.spool.is_empty:
        raise SpoolHoldsWebhooks(socket.gethostname())
    for other in _others(services, connection):
        if _is_heard_of(services, other):
            raise SpoolHoldsWebhooks(other.host)


def left(services: Services, connection: Connection[TupleRow]) -> list[SpoolLeftBody]:
    """What nobody drains, as far as this instance knows: files in its own folder, folders of others that are gone.

    Raises OSError.
    """
    drained = frozenset() if services.spool is None else services.spool.paths
    files = leftovers.not_drained(services.settings.data_dir / leftovers.FOLDER, drained)
    found = [_body(services, socket.gethostname(), str(each.path), each.written_at) for each in files]
    return found + [
        _body(services, other.host, f"{other.folder}/{leftovers.FOLDER}", other.noted_at)
        for other in _others(services, connection)
        if not _is_heard_of(services, other)
    ]


def _others(services: Services, connection: Connection[TupleRow]) -> Iterator[Spooling]:
    """Of other data folders: what an earlier run has left in this one is drained since the start."""
    here = socket.gethostname(), str(services.settings.data_dir)
    return (each for each in instance_figures.spooling(connection) if (each.host, each.folder) != here)


def _is_heard_of(services: Services, other: Spooling) -> bool:
    return services.clock.now() - other.noted_at <= round(instance_figures.NOTED_SECONDS * SECOND)


def _body(services: Services, host: str, path: str, last_at: Instant) -> SpoolLeftBody:
    age = max(0, services.clock.now() - last_at)
    return SpoolLeftBody(host, path, to_text(last_at), round(age / SECOND, 3))
