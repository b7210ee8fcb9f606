"""The projection `loss`: transitions that webhooks told, and those that they did not; its two tables."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString, cast

from psycopg import Cursor

from ledger.domain.event_types import UserEvent
from ledger.domain.events import WebhookObserved
from ledger.domain.observation import SECOND, Instant
from ledger.domain.untold import ToldTransition, Untold, UserTransitions, tells_itself_alone, told_by
from ledger.store.arrays import bigints, optional_bigints, texts
from ledger.working_state import canaries
from projections.engine.memory import Memory
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


_Place = tuple[str, Instant, str, str]
"""Source, begin of the bucket, node, and by what it was learnt."""


class Loss:
    """Follows users' events; its state are the rows of `untold` that are not final."""

    name = "loss"
    tables: Sequence[str] = ("transitions", "untold")
    kinds = frozenset({"webhook_observed.v2", "corrected.v1", "swept.v1"})

    def handle(self, cursor: Cursor[Any], events: Sequence[Followed], memory: Memory) -> None:
        """Count the transitions of which these events tell, but for canaries': theirs are counted by themselves."""
        # Of who was one when it happened: what is counted anew comes out as it was counted first.
        hidden = canaries.times(cursor.connection)
        pending = _pending(cursor, {cast(str, followed.uid) for followed in events}, memory)
        users: dict[str, UserTransitions] = {}
        counts: Counter[_Place] = Counter()
        for followed in events:
            uid, event = cast(str, followed.uid), cast(UserEvent, followed.event)
            if uid in hidden and any(time.holds(followed.position) for time in hidden[uid]):
                continue
            user = users.get(uid)
            if user is None:
                if not pending[uid] and isinstance(event, WebhookObserved) and tells_itself_alone(event):
                    # For speed: nearly all of them.
                    counts[_place(told_by(event))] += 1
                    continue
                user = users[uid] = UserTransitions(uid, pending[uid])
            user.take(event, followed.position)
        counts.update(_place(told) for user in users.values() for told in user.told)
        _count(cursor, counts)
        _write(cursor, [(uid, each) for uid, user in users.items() for each in user.changed.values()])
        _drop(cursor, [(uid, each) for uid, user in users.items() for each in user.dropped.values()])
        memory.keep(pending | {uid: user.pending for uid, user in users.items()})


PROJECTION = Loss()


def bucket(at: Instant) -> Instant:
    """The begin of the seconds that an instant is counted by."""
    return at - at % (BUCKET_SECONDS * SECOND)


def _place(told: ToldTransition) -> _Place:
    return told.source, bucket(told.at), told.node, told.by


def _pending(cursor: Cursor[Any], uids: set[str], memory: Memory) -> dict[str, Sequence[Untold]]:
    """What is pending of each of these users before their next event."""
    pending: dict[str, Sequence[Untold]] = memory.take(uids)
    if unknown := uids - pending.keys():
        found: dict[str, list[Untold]] = {uid: [] for uid in unknown}
        for uid, *columns in cursor.execute(_PENDING, (texts(list(found)),), binary=True).fetchall():
            found[uid].append(Untold(*columns))
        pending |= found
    return pending


def _count(cursor: Cursor[Any], counts: Mapping[_Place, int]) -> None:
    if counts:
        sources, instants, nodes, by = zip(*sorted(counts), strict=True)
        numbers = [counts[place] for place in sorted(counts)]
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
