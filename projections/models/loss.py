"""The projection `loss`: transitions that webhooks told, and those that they did not; its two tables."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, LiteralString, cast

from psycopg import Cursor

from ledger.domain.event_types import UserEvent
from ledger.domain.observation import SECOND, Instant
from ledger.domain.untold import Untold, UserTransitions
from ledger.store.arrays import bigints, optional_bigints, texts
from ledger.working_state import canaries
from projections.engine.projection import Followed

BUCKET_SECONDS = 10
"""What is counted is counted by so many seconds."""

_COLUMNS: LiteralString = "source, position, became, node, scope, learnt_by, after, at, state"

# One look into the index a user, whatever the statistics say of how many rows they have.
_PENDING_TEMPLATE: LiteralString = """
SELECT asked.uid, u.* FROM unnest(%b::text[]) AS asked (uid)
 CROSS JOIN LATERAL (SELECT {} FROM untold WHERE uid = asked.uid AND state <> 'final' ORDER BY position, became) AS u
"""
_PENDING = _PENDING_TEMPLATE.format(_COLUMNS)

# In the order of the key, since several processes of a rebuild count into the same rows.
_COUNT = """
INSERT INTO transitions (source, at, node, by, number)
SELECT * FROM unnest(%b::text[], %b::bigint[], %b::text[], %b::text[], %b::bigint[])
    ON CONFLICT (source, at, node, by) DO UPDATE SET number = transitions.number + excluded.number
"""

_WRITE_TEMPLATE: LiteralString = """
INSERT INTO untold (uid, {})
SELECT * FROM unnest(%b::text[], %b::text[], %b::bigint[], %b::text[], %b::text[], %b::text[], %b::text[],
                     %b::bigint[], %b::bigint[], %b::text[])
    ON CONFLICT (uid, position, became) DO UPDATE SET learnt_by = excluded.learnt_by, state = excluded.state
"""
_WRITE = _WRITE_TEMPLATE.format(_COLUMNS)

_DROP = """
DELETE FROM untold USING unnest(%b::text[], %b::bigint[], %b::text[]) AS dropped (uid, position, became)
 WHERE untold.uid = dropped.uid AND untold.position = dropped.position AND untold.became = dropped.became
"""


class Loss:
    """Follows users' events; its state are the rows of `untold` that are not final."""

    name = "loss"
    tables: Sequence[str] = ("transitions", "untold")
    kinds = frozenset({"webhook_observed.v2", "corrected.v1", "swept.v1"})

    def handle(self, cursor: Cursor[Any], events: Sequence[Followed]) -> None:
        """Count the transitions of which these events tell, but for canaries': theirs are counted by themselves."""
        # Of who was one when it happened: what is counted anew comes out as it was counted first.
        places = [(cast(str, followed.uid), followed.position) for followed in events]
        hidden = canaries.among_events(cursor.connection, places)
        of_users = [followed for followed, place in zip(events, places, strict=True) if place not in hidden]
        if not of_users:
            return
        users = _users(cursor, of_users)
        for followed in of_users:
            users[cast(str, followed.uid)].take(cast(UserEvent, followed.event), followed.position)
        _count(cursor, users)
        _write(cursor, [(uid, each) for uid, user in users.items() for each in user.changed.values()])
        _drop(cursor, [(uid, each) for uid, user in users.items() for each in user.dropped.values()])


PROJECTION = Loss()


def bucket(at: Instant) -> Instant:
    """The begin of the seconds that an instant is counted by."""
    return at - at % (BUCKET_SECONDS * SECOND)


def _users(cursor: Cursor[Any], events: Sequence[Followed]) -> dict[str, UserTransitions]:
    """The users of these events, each as before them."""
    pending: dict[str, list[Untold]] = {cast(str, followed.uid): [] for followed in events}
    for uid, *columns in cursor.execute(_PENDING, (texts(list(pending)),), binary=True).fetchall():
        pending[uid].append(Untold(*columns))
    return {uid: UserTransitions(uid, rows) for uid, rows in pending.items()}


def _count(cursor: Cursor[Any], users: dict[str, UserTransitions]) -> None:
    counts = Counter(
        (each.source, bucket(each.at), each.node, each.by) for user in users.values() for each in user.told
    )
    if counts:
        sources, instants, nodes, by = zip(*sorted(counts), strict=True)
        numbers = [counts[key] for key in sorted(counts)]
        cursor.execute(_COUNT, (texts(sources), bigints(instants), texts(nodes), texts(by), bigints(numbers)))


def _write(cursor: Cursor[Any], changed: Sequence[tuple[str, Untold]]) -> None:
    if changed:
        uids = [uid for uid, _ in changed]
        columns = list(zip(*[each for _, each in changed], strict=True))
        packed = [pack(column) for pack, column in zip(_PACKED, columns, strict=True)]
        cursor.execute(_WRITE, (texts(uids), *packed))


def _drop(cursor: Cursor[Any], dropped: Sequence[tuple[str, Untold]]) -> None:
    if dropped:
        cursor.execute(
            _DROP,
            (
                texts([uid for uid, _ in dropped]),
                bigints([each.position for _, each in dropped]),
                texts([each.became for _, each in dropped]),
            ),
        )


_PACKED: tuple[Any, ...] = (
    *(texts, bigints, texts, texts, texts, texts),
    *(optional_bigints, bigints, texts),
)
