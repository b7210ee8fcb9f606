"""Making, changing and deleting watch lists: one change at a time, each on record and told to who reads."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, LiteralString, NamedTuple

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.errors import LedgerError
from ledger.store.arrays import texts
from ledger.store.commit import CHANNEL
from ledger.working_state.watch_list_record import Kind, head
from ledger.working_state.watch_lists import WatchList, column, get

MAX_MEMBERS = 100_000
MAX_WATCHERS = 10_000
MAX_NAME_CHARACTERS = 256

LOCK_SECONDS = 30
"""How long a change waits for another one: of a hundred thousand users it takes seconds."""

_LOCK_KEY = 0x77617463_68657273
"""The advisory lock that each change holds: "watchers" in ASCII."""

_LOCK = "SELECT pg_advisory_xact_lock(%s) WHERE set_config('lock_timeout', %s, true) IS NOT NULL"

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

_ALL_OF = """
SELECT list FROM list_members WHERE uid = %(uid)s AND removed_by IS NULL
 UNION
SELECT list FROM list_watchers WHERE uid = %(uid)s AND removed_by IS NULL
"""


class Patch(NamedTuple):
    """Users to add to a list and to remove from it."""

    add: Collection[str] = ()
    remove: Collection[str] = ()
    add_watchers: Collection[str] = ()
    remove_watchers: Collection[str] = ()


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
    for name in column(connection, _ALL_OF, {"uid": uid}):
        patch(connection, name, Patch(remove=[uid], remove_watchers=[uid]), by)


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
