"""Watch lists: who is on which, who is told of it, and every change on record; the one place that knows the tables.

Changes are numbered in the order of their commits: whoever has read up to a number has seen everything up to it. Who
was removed stays on record, so that a reader who comes back learns of it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, LiteralString, NamedTuple

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.observation import Instant
from ledger.errors import LedgerError
from ledger.store.arrays import texts
from ledger.store.commit import CHANNEL

MAX_MEMBERS = 100_000
MAX_WATCHERS = 10_000
MAX_NAME_CHARACTERS = 256

LOCK_SECONDS = 30
"""How long a change waits for another one: of a hundred thousand users it takes seconds."""

_LOCK_KEY = 0x77617463_68657273
"""The advisory lock that each change holds: "watchers" in ASCII."""

_LOCK = "SELECT pg_advisory_xact_lock(%s) WHERE set_config('lock_timeout', %s, true) IS NOT NULL"

# A statement of its own, after the lock's: only then it sees the changes that the lock waited for.
_HEAD = "SELECT coalesce(max(number), 0) FROM list_changes"

_SELECT: LiteralString = """
SELECT l.name, l.members, l.watchers, l.last_change, (extract(epoch FROM made.changed_at) * 1000000)::bigint,
       (extract(epoch FROM last.changed_at) * 1000000)::bigint, last.changed_by
  FROM watch_lists AS l
  JOIN list_changes AS made ON made.number = l.created_by
  JOIN list_changes AS last ON last.number = l.last_change
"""
_ONE: LiteralString = _SELECT + " WHERE l.name = %s"
_PAGE: LiteralString = _SELECT + " WHERE l.name > %s ORDER BY l.name LIMIT %s"

_ADD: LiteralString = """
INSERT INTO {0} (uid, list, added_by) SELECT DISTINCT uid, %(list)s, %(number)s FROM unnest(%(uids)b::text[]) AS uid
    ON CONFLICT (uid, list) WHERE removed_by IS NULL DO NOTHING
"""
_REMOVE: LiteralString = """
UPDATE {0} SET removed_by = %(number)s WHERE list = %(list)s AND removed_by IS NULL AND uid = ANY(%(uids)b::text[])
"""
_REMOVE_OTHERS: LiteralString = """
UPDATE {0} AS on_it SET removed_by = %(number)s
 WHERE list = %(list)s AND removed_by IS NULL
   AND NOT EXISTS (SELECT FROM unnest(%(uids)b::text[]) AS kept (uid) WHERE kept.uid = on_it.uid)
"""

_RECORD = """
INSERT INTO list_changes (number, list, kind, changed_by, changed_at, added, removed, watchers_added, watchers_removed)
VALUES (%s, %s, %s, %s, clock_timestamp(), %s, %s, %s, %s)
"""
_COUNT = """
INSERT INTO watch_lists AS l (name, created_by, last_change, members, watchers)
VALUES (%(list)s, %(number)s, %(number)s, %(members)s, %(watchers)s)
    ON CONFLICT (name) DO UPDATE SET last_change = excluded.last_change, members = l.members + excluded.members,
                                     watchers = l.watchers + excluded.watchers
RETURNING members, watchers
"""

_USERS_AFTER: LiteralString = """
SELECT uid FROM {0} WHERE list = %s AND removed_by IS NULL AND uid > %s ORDER BY uid LIMIT %s
"""
_MEMBERS_AFTER = """
SELECT DISTINCT uid FROM list_members WHERE removed_by IS NULL AND uid > %s ORDER BY uid LIMIT %s
"""
MEMBERS: LiteralString = "SELECT uid FROM list_members WHERE list = %(list)s AND removed_by IS NULL"
"""Who is on a list, for queries about them."""

_LISTS_OF = "SELECT uid, list FROM list_members WHERE uid = ANY(%b) AND removed_by IS NULL"
_ALL_OF = """
SELECT list FROM list_members WHERE uid = %(uid)s AND removed_by IS NULL
 UNION
SELECT list FROM list_watchers WHERE uid = %(uid)s AND removed_by IS NULL
"""
_EVER_ON = "SELECT DISTINCT uid FROM list_members WHERE uid = ANY(%b) AND list = %s"
_WATCHERS = "SELECT list, uid FROM list_watchers WHERE list = ANY(%b) AND removed_by IS NULL"

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


class WatchList(NamedTuple):
    """A list, and how many are on it; `last_change` is the number of its last change."""

    name: str
    members: int
    watchers: int
    last_change: int
    created_at: Instant
    changed_at: Instant
    changed_by: str


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


class Patch(NamedTuple):
    """Users to add to a list and to remove from it."""

    add: Collection[str] = ()
    remove: Collection[str] = ()
    add_watchers: Collection[str] = ()
    remove_watchers: Collection[str] = ()


class Moved(NamedTuple):
    """Who has come to a list since a change, and is on it now; and who has left it, and is not."""

    added: list[str]
    removed: list[str]


class ListTooLarge(LedgerError):
    """A change would put more users on a list than it may have; nothing was changed."""

    def __init__(self, of: Literal["members", "watchers"]) -> None:
        most = {"members": MAX_MEMBERS, "watchers": MAX_WATCHERS}[of]
        super().__init__(f"the list would have more than {most} {of}")
        self.of = of


def put(
    connection: Connection[TupleRow], name: str, uids: Collection[str], watchers: Collection[str], by: str
) -> tuple[WatchList, bool]:
    """Make a list of these users, in the place of one that there may be -> (the list, whether it is new).

    Raises ListTooLarge.
    """
    if len(set(uids)) > MAX_MEMBERS:
        raise ListTooLarge("members")
    if len(set(watchers)) > MAX_WATCHERS:
        raise ListTooLarge("watchers")
    with _changing(connection, name) as change:
        is_new = get(connection, name) is None
        members = change.replace("list_members", uids)
        told = change.replace("list_watchers", watchers)
        if is_new or any(members + told):
            change.record("created" if is_new else "changed", by, members, told)
        return _existing(connection, name), is_new


def patch(connection: Connection[TupleRow], name: str, asked: Patch, by: str) -> WatchList | None:
    """Add users to a list and remove others -> the list, None where there is none. Raises ListTooLarge."""
    with _changing(connection, name) as change:
        if get(connection, name) is None:
            return None
        members = change.alter("list_members", asked.add, asked.remove)
        told = change.alter("list_watchers", asked.add_watchers, asked.remove_watchers)
        if any(members + told):
            change.record("changed", by, members, told)
        return _existing(connection, name)


def delete(connection: Connection[TupleRow], name: str, by: str) -> bool:
    """Delete a list -> whether there was one."""
    with _changing(connection, name) as change:
        if get(connection, name) is None:
            return False
        change.record("deleted", by, change.replace("list_members", ()), change.replace("list_watchers", ()))
        connection.execute("DELETE FROM watch_lists WHERE name = %s", (name,))
        return True


def take_off_all(connection: Connection[TupleRow], uid: str, by: str) -> None:
    """Take a user off all lists, as a member and as a watcher, which is told; within a transaction."""
    for name in _column(connection, _ALL_OF, {"uid": uid}):
        patch(connection, name, Patch(remove=[uid], remove_watchers=[uid]), by)


def have_been_on(connection: Connection[TupleRow], uids: Sequence[str], name: str) -> set[str]:
    """Those of these users who are on a list, or have been, as far as that is kept."""
    return set(_column(connection, _EVER_ON, (texts(uids), name)))


def get(connection: Connection[TupleRow], name: str) -> WatchList | None:
    """The list of that name, if there is one."""
    row = connection.execute(_ONE, (name,)).fetchone()
    return None if row is None else WatchList(*row)


def page(connection: Connection[TupleRow], after: str, limit: int) -> list[WatchList]:
    """So many lists at most, by name, after that one."""
    return [WatchList(*row) for row in connection.execute(_PAGE, (after, limit)).fetchall()]


def members_of(connection: Connection[TupleRow], name: str, after: str, limit: int) -> list[str]:
    """So many users at most who are on a list, by uid, after that one."""
    return _column(connection, _USERS_AFTER.format("list_members"), (name, after, limit))


def all_members_after(connection: Connection[TupleRow], after: str, limit: int) -> list[str]:
    """The same of those who are on any list."""
    return _column(connection, _MEMBERS_AFTER, (after, limit))


def watchers_after(connection: Connection[TupleRow], name: str, after: str, limit: int) -> list[str]:
    """The same of those who are told when somebody on it changes."""
    return _column(connection, _USERS_AFTER.format("list_watchers"), (name, after, limit))


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
    return _column(connection, _CHANGED_OF, (number, texts(sorted(names))))


def moved_since(connection: Connection[TupleRow], name: str, number: int) -> Moved:
    """Who was added to a list and removed from it by the changes after that number, as it is now.

    Whoever left and came back counts as added, whoever came and left as removed: a reader may have heard of the half.
    """
    added = _column(connection, _ADDED, (name, number))
    removed = _column(connection, _REMOVED, {"list": name, "since": number})
    return Moved(sorted(added), sorted(removed))


class _Change:
    """A change in its transaction; it is none before it is recorded."""

    def __init__(self, cursor: Cursor[Any], name: str, number: int) -> None:
        self._cursor = cursor
        self._name = name
        self._number = number

    def replace(self, table: LiteralString, uids: Collection[str]) -> tuple[int, int]:
        """Let a table have these users of the list and nobody else -> how many were added and removed."""
        removed = self._run(_REMOVE_OTHERS.format(table), uids)
        return self._run(_ADD.format(table), uids) if uids else 0, removed

    def alter(self, table: LiteralString, add: Collection[str], remove: Collection[str]) -> tuple[int, int]:
        """Let a table have some more and some less -> how many were added and removed."""
        removed = self._run(_REMOVE.format(table), remove) if remove else 0
        return self._run(_ADD.format(table), add) if add else 0, removed

    def record(self, kind: Kind, by: str, members: tuple[int, int], watchers: tuple[int, int]) -> None:
        """Put it on record, and let readers know once it commits. Raises ListTooLarge."""
        self._cursor.execute(_RECORD, (self._number, self._name, kind, by, *members, *watchers))
        more = {"members": members[0] - members[1], "watchers": watchers[0] - watchers[1]}
        counts = self._cursor.execute(_COUNT, {"list": self._name, "number": self._number, **more}).fetchone()
        assert counts is not None
        if counts[0] > MAX_MEMBERS:
            raise ListTooLarge("members")
        if counts[1] > MAX_WATCHERS:
            raise ListTooLarge("watchers")
        self._cursor.execute(f"NOTIFY {CHANNEL}")

    def _run(self, query: LiteralString, uids: Iterable[str]) -> int:
        # In the order of the index, which is less to write where they are many.
        users = texts(sorted(set(uids)))
        return self._cursor.execute(query, {"list": self._name, "number": self._number, "uids": users}).rowcount


@contextmanager
def _changing(connection: Connection[TupleRow], name: str) -> Iterator[_Change]:
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_LOCK, (_LOCK_KEY, f"{LOCK_SECONDS}s"))
        yield _Change(cursor, name, head(connection) + 1)


def _existing(connection: Connection[TupleRow], name: str) -> WatchList:
    found = get(connection, name)
    assert found is not None
    return found


def _column(
    connection: Connection[TupleRow], query: LiteralString, params: Sequence[Any] | Mapping[str, Any]
) -> list[str]:
    return [uid for (uid,) in connection.cursor(binary=True).execute(query, params).fetchall()]
