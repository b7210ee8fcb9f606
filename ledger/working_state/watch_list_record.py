"""Changes of watch lists, on record: what has changed after a number, for whoever has read up to it.

Changes are numbered in the order of their commits: whoever has read up to a number has seen everything up to it. Who
was removed stays on record, so that a reader who comes back learns of it.
"""

from collections.abc import Collection
from typing import Literal, LiteralString, NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.observation import Instant
from ledger.store.arrays import texts
from ledger.working_state.watch_lists import column

# A statement of its own, after the lock's: only then it sees the changes that the lock waited for.
_HEAD = "SELECT coalesce(max(number), 0) FROM list_changes"

_CHANGE: LiteralString = """
SELECT number, list, kind, changed_by, (extract(epoch FROM changed_at) * 1000000)::bigint, added, removed,
       watchers_added, watchers_removed
  FROM list_changes
"""
_CHANGES: LiteralString = _CHANGE + " WHERE number > %s ORDER BY number LIMIT %s"
_CHANGES_OF: LiteralString = _CHANGE + " WHERE list = %s AND number > %s ORDER BY number LIMIT %s"
_CHANGED_OF = "SELECT DISTINCT list FROM list_changes WHERE number > %s AND list = ANY(%b)"
# Written so that only the index by number serves: before it knows better, PostgreSQL takes the list for a short one.
_ADDED = "SELECT uid FROM list_members WHERE list = %s AND added_by > %s AND coalesce(removed_by, 0) = 0"
_REMOVED = """
SELECT DISTINCT uid FROM list_members AS gone WHERE list = %(list)s AND removed_by > %(since)s
   AND (SELECT count(*) FROM list_members AS there
         WHERE there.uid = gone.uid AND there.list = gone.list AND there.removed_by IS NULL) = 0
"""

Kind = Literal["created", "changed", "deleted"]


class ListChange(NamedTuple):
    """A change on record: by which API key, when, and how many users it added and removed."""

    number: int
    list: str
    kind: Kind
    changed_by: str
    changed_at: Instant
    added: int
    removed: int
    watchers_added: int
    watchers_removed: int


class MembershipChange(NamedTuple):
    """Who has come to a list since a change, and is on it now; and who has left it, and is not."""

    added: list[str]
    removed: list[str]


def head(connection: Connection[TupleRow]) -> int:
    """The number of the last change; 0 where there was none."""
    row = connection.execute(_HEAD).fetchone()
    assert row is not None
    number: int = row[0]
    return number


def changes_since(connection: Connection[TupleRow], number: int, limit: int) -> list[ListChange]:
    """So many changes at most after that number, of all lists, in their order."""
    return [ListChange(*row) for row in connection.execute(_CHANGES, (number, limit)).fetchall()]


def changes_of(connection: Connection[TupleRow], name: str, number: int, limit: int) -> list[ListChange]:
    """The same of one list, or of lists that had its name before."""
    return [ListChange(*row) for row in connection.execute(_CHANGES_OF, (name, number, limit)).fetchall()]


def changed_of(connection: Connection[TupleRow], names: Collection[str], number: int) -> list[str]:
    """Which of these lists have changed after that number."""
    return column(connection, _CHANGED_OF, (number, texts(sorted(names))))


def moved_since(connection: Connection[TupleRow], name: str, number: int) -> MembershipChange:
    """Who was added to a list and removed from it by the changes after that number, as it is now.

    Whoever left and came back counts as added, whoever came and left as removed: a reader may have heard of the half.
    """
    added = column(connection, _ADDED, (name, number))
    removed = column(connection, _REMOVED, {"list": name, "since": number})
    return MembershipChange(sorted(added), sorted(removed))
