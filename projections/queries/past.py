"""Answers about the past as the API shows them: the JSON of what `history` finds, which knows none."""

from collections.abc import Sequence

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.store.mapper import EventMapper
from ledger.working_state import looks
from projections.models.current import can_be_stored
from projections.models.shown import AnswerPoint, body, hedged, verified
from projections.queries import history
from projections.queries.reader import Read
from projections.queries.rule_folds import RuleFolds


def read(
    connection: Connection[TupleRow],
    mapper: EventMapper,
    uids: Sequence[str],
    made: AnswerPoint,
    folds: RuleFolds | None = None,
) -> Read:
    """The presences of users in the order asked, as they were at an instant by what a position of the ledger knows.

    `verified_at`, the one fact that no event tells, is there as far as it is kept. Raises UnreadableEvent.
    """
    found = history.as_of(connection, mapper, uids, made.at, made.position, folds)
    looked = looks.verified(connection, [uid for uid in uids if can_be_stored(uid)], made.at)
    bodies = []
    for uid in uids:
        presence, shown, uncertain = found.belief(uid, made.at)
        # Of a user of whom that position knows nothing, no look can have agreed.
        seen = looked.get(uid) if presence.version else None
        text = body(presence, shown, found.rules.sources) + verified(seen, presence.version)
        bodies.append(text if uncertain is None else text + hedged(uncertain))
    return Read(made, bodies)
