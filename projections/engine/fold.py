"""Folding all of the users' streams, one user after another, divided among processes.

Nobody judges here and nothing is written twice, so that this takes little longer than to fetch the events.
"""

from collections.abc import Iterator, Sequence
from typing import LiteralString, NamedTuple, cast

import psycopg
from psycopg import ServerCursor
from psycopg.rows import TupleRow

from ledger.domain.event_types import UserEvent
from ledger.domain.evolve import evolve
from ledger.domain.presence import Presence
from ledger.errors import LedgerError
from ledger.store import session
from ledger.store.ledger import translated
from ledger.store.mapper import USER_PREFIX, EventMapper
from projections.engine import switch
from projections.engine.by_stream import STREAM_BY_STREAM, Part, divided, opened
from projections.engine.shares import Told, together
from projections.models import current

FETCHED_ROWS = 5_000

_USUAL = "webhook_observed.v1"

# User by user, so that each one's presence is at hand until it is complete.
_EVENTS_TEMPLATE: LiteralString = """
SELECT stream, position, nullif(kind, %s), payload FROM events WHERE starts_with(stream, 'user:') AND {}
"""
_EVENTS = _EVENTS_TEMPLATE.format(STREAM_BY_STREAM)


class FoldFailed(LedgerError):
    """An event cannot be folded; the live table is as it was."""


class Share(NamedTuple):
    """What one process does."""

    database_url: str
    parts: Sequence[Part]


def fold_all(database_url: str, up_to: int, told: Told) -> None:
    """Fill the new table `current`, which has no index yet, with every user's presence as of a position.

    Raises FoldFailed, ProcessEnded, StoreUnavailable.
    """
    together(fold_share, [Share(database_url, parts) for parts in divided(up_to)], told)


def fold_share(share: Share, told: Told) -> None:
    """Fold the parts one after another, in a transaction each."""
    mapper = EventMapper()
    with translated(), session.connect(share.database_url, "rebuild", autocommit=False) as connection:
        connection.execute("SET synchronous_commit = off")
        for part in share.parts:
            cursor = connection.cursor()
            with opened(connection, _EVENTS, (_USUAL,), part) as events, switch.named_first(cursor):
                current.insert(cursor, current.to_rows(_folded(events, mapper, told)))
            connection.commit()


def _folded(events: ServerCursor[TupleRow], mapper: EventMapper, told: Told) -> Iterator[Presence]:
    """Each user's presence, when its last event has come."""
    usual, last, position = mapper.decoder(_USUAL), "", 0
    presence = Presence("")
    try:
        while rows := events.fetchmany(FETCHED_ROWS):
            for stream, position, kind, payload in rows:
                if stream != last:
                    if last:
                        yield presence
                    last, presence = stream, Presence(stream[len(USER_PREFIX) :])
                event = usual(payload) if kind is None else cast(UserEvent, mapper.event(kind, payload))
                presence = evolve(presence, event, position)
            told(len(rows))
    except (psycopg.Error, OSError):
        raise
    except Exception as error:
        raise FoldFailed(
            f"the event at position {position} cannot be folded: {type(error).__name__}: {error}.\n"
            "The live table is as it was; upgrade to the version that wrote the event."
        ) from error
    if last:
        yield presence
