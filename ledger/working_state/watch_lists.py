"""Watch lists: who is on which, and who is told of it.

Their tables are known here, to `watch_list_changes`, by which they change, and to the `watch_list_record` of that.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.observation import Instant
from ledger.store.arrays import texts

_SELECT: LiteralString = """
SELECT l.name, l.members, l.watchers, l.last_change, (extract(epoch FROM made.changed_at) * 1000000)::bigint,
       (extract(epoch FROM last.changed_at) * 1000000)::bigint, last.changed_by
  FROM watch_lists AS l
  JOIN list_changes AS made ON made.number = l.created_by
  JOIN list_changes AS last ON last.number = l.last_change
"""
_ONE: LiteralString = _SELECT + " WHERE l.name = %s"
_PAGE: LiteralString = _SELECT + " WHERE l.name > %s ORDER BY l.name LIMIT %s"

_USERS_AFTER: LiteralString = """
SELECT uid FROM {0} WHERE list = %s AND removed_by IS NULL AND uid > %s ORDER BY uid LIMIT %s
"""
_MEMBERS_AFTER = """
SELECT DISTINCT uid FROM list_members WHERE removed_by IS NULL AND uid > %s ORDER BY uid LIMIT %s
"""
MEMBERS: LiteralString = "SELECT uid FROM list_members WHERE list = %(list)s AND removed_by IS NULL"
"""Who is on a list, for queries about them."""

_LISTS_OF = "SELECT uid, list FROM list_members WHERE uid = ANY(%b) AND removed_by IS NULL"
_EVER_ON = "SELECT DISTINCT uid FROM list_members WHERE uid = ANY(%b) AND list = %s"
_WATCHERS = "SELECT list, uid FROM list_watchers WHERE list = ANY(%b) AND removed_by IS NULL"


class WatchList(NamedTuple):
    """A list, and how many are on it; `last_change` is the number of its last change."""

    name: str
    members: int
    watchers: int
    last_change: int
    created_at: Instant
    changed_at: Instant
    changed_by: str


def have_been_on(connection: Connection[TupleRow], uids: Sequence[str], name: str) -> set[str]:
    """Those of these users who are on a list, or have been, as far as that is kept."""
    return set(column(connection, _EVER_ON, (texts(uids), name)))


def get(connection: Connection[TupleRow], name: str) -> WatchList | None:
    """The list of that name, if there is one."""
    row = connection.execute(_ONE, (name,)).fetchone()
    return None if row is None else WatchList(*row)


def page(connection: Connection[TupleRow], after: str, limit: int) -> list[WatchList]:
    """So many lists at most, by name, after that one."""
    return [WatchList(*row) for row in connection.execute(_PAGE, (after, limit)).fetchall()]


def members_of(connection: Connection[TupleRow], name: str, after: str, limit: int) -> list[str]:
    """So many users at most who are on a list, by uid, after that one."""
    return column(connection, _USERS_AFTER.format("list_members"), (name, after, limit))


def all_members_after(connection: Connection[TupleRow], after: str, limit: int) -> list[str]:
    """The same of those who are on any list."""
    return column(connection, _MEMBERS_AFTER, (after, limit))


def watchers_after(connection: Connection[TupleRow], name: str, after: str, limit: int) -> list[str]:
    """The same of those who are told when somebody on it changes."""
    return column(connection, _USERS_AFTER.format("list_watchers"), (name, after, limit))


def lists_of(connection: Connection[TupleRow], uids: Sequence[str]) -> dict[str, set[str]]:
    """The names of the lists that each of these users is on; nobody is named who is on none."""
    lists = defaultdict[str, set[str]](set)
    for uid, name in connection.cursor(binary=True).execute(_LISTS_OF, (texts(uids),)):
        lists[uid].add(name)
    return dict(lists)


def watchers_of(
    connection: Connection[TupleRow], uids: Sequence[str], lists: Collection[str] | None = None
) -> dict[str, frozenset[str]]:
    """Who is told when each of these users changes, by all lists or by some; nobody is named whom no one watches.

    Users of the same lists share one set.
    """
    on = {uid: frozenset(names) for uid, names in lists_of(connection, uids).items()}
    if lists is not None:
        on = {uid: names & frozenset(lists) for uid, names in on.items()}
    by_list = defaultdict[str, set[str]](set)
    for name, uid in connection.cursor(binary=True).execute(_WATCHERS, (texts(sorted(set().union(*on.values()))),)):
        by_list[name].add(uid)
    unions = {names: frozenset[str]().union(*(by_list.get(name, ()) for name in names)) for names in set(on.values())}
    return {uid: unions[names] for uid, names in on.items() if unions[names]}


def column(
    connection: Connection[TupleRow], query: LiteralString, params: Sequence[Any] | Mapping[str, Any]
) -> list[str]:
    """What a query of one column finds."""
    return [value for (value,) in connection.cursor(binary=True).execute(query, params).fetchall()]
