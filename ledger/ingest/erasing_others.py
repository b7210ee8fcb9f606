"""Events that name a user beside others: which they are, and what is left of each without the user."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.erasure import Name, without_user
from ledger.domain.event_types import SourceEvent
from ledger.store import erased
from ledger.store.erased import NamingRow
from ledger.store.ledger import Ledger
from ledger.store.mapper import SOURCE_PREFIX

NAMING_KINDS = (
    "alert_began.v1",
    "alert_ended.v1",
    "body_rejected.v1",
    "item_rejected.v1",
    "node_down.v1",
    "poll_observed.v1",
    "run_ended.v1",
    "run_started.v1",
    "source_imported.v1",
)
"""Of sources' events, those that may name a user."""


class Naming(NamedTuple):
    """A source's event that names the user, and what is left of it."""

    position: int
    row: NamingRow
    event: SourceEvent
    payload: bytes


def naming(ledger: Ledger, connection: Connection[TupleRow], name: Name, after: int, up_to: int) -> Iterator[Naming]:
    """The events of sources after a position and up to another that name the user."""
    rows = erased.naming(connection, name.uid, sorted(ledger.events_mapper.stored_kinds(NAMING_KINDS)), after, up_to)
    return left_of(ledger, rows, name)


def left_of(ledger: Ledger, rows: Iterable[NamingRow], name: Name) -> Iterator[Naming]:
    """Those that name the user, with what is left of them."""
    mapper = ledger.events_mapper
    for row in rows:
        event = mapper.event_at(row.position, row.kind, row.payload)
        assert isinstance(event, SourceEvent)
        left = without_user(event, name)
        if left is not event:
            yield Naming(row.position, row, left, mapper.kind_and_payload(left)[1])


def run_by(left: Iterable[Naming]) -> set[str]:
    """The sources whose runs name the user."""
    return {each.row.stream.removeprefix(SOURCE_PREFIX) for each in left if "run" in each.row.kind}
