"""Watch lists: who is on them, counts without counting, what changed since, and the order of what is on record."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.store import session
from ledger.store.commit import CHANNEL
from ledger.working_state import watch_list_changes, watch_list_record, watch_lists
from ledger.working_state.watch_list_changes import ListTooLarge, Patch
from ledger.working_state.watch_list_record import MembershipChange
from ledger.working_state.watch_lists import WatchList
from tests.support import pg

pytestmark = pg.on_every_server


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection[TupleRow]]:
    with session.connect(database_url) as connection:
        yield connection


def shown(connection: Connection[TupleRow], name: str) -> tuple[list[str], list[str]]:
    """Who is on a list and who is told; its counts are held against them."""
    members = watch_lists.members_of(connection, name, "", 1_000_000)
    watchers = watch_lists.watchers_after(connection, name, "", 1_000_000)
    found = watch_lists.get(connection, name)
    assert (found.members, found.watchers) == (len(members), len(watchers)) if found else not members + watchers
    return members, watchers


def existing(found: WatchList | None) -> WatchList:
    assert found is not None
    return found


def test_a_list_is_made_and_replaced(connection: Connection[TupleRow]) -> None:
    made, is_new = watch_list_changes.put(connection, "友", ["b", "a", "用户", "a"], ["w"], "app")
    assert is_new
    assert made == existing(watch_lists.get(connection, "友"))
    assert (made.members, made.watchers, made.last_change, made.changed_by) == (3, 1, 1, "app")
    assert made.created_at == made.changed_at
    assert shown(connection, "友") == (["a", "b", "用户"], ["w"])

    replaced, is_new = watch_list_changes.put(connection, "友", ["c", "b"], [], "other")
    assert not is_new
    assert (replaced.members, replaced.watchers, replaced.last_change, replaced.changed_by) == (2, 0, 2, "other")
    assert replaced.created_at == made.created_at < replaced.changed_at
    assert shown(connection, "友") == (["b", "c"], [])


def test_what_changes_nothing_is_not_on_record(connection: Connection[TupleRow]) -> None:
    watch_list_changes.put(connection, "x", ["a"], ["w"], "app")
    watch_list_changes.put(connection, "x", ["a"], ["w"], "app")
    watch_list_changes.patch(connection, "x", Patch(["a"], ["nobody"], ["w"], ["nobody"]), "app")
    assert watch_list_record.head(connection) == 1
    # An empty one that is new does: it is there from now on.
    assert watch_list_changes.put(connection, "empty", [], [], "app")[1]
    assert watch_list_record.head(connection) == 2
    assert shown(connection, "empty") == ([], [])


def test_a_patch_is_one_change(connection: Connection[TupleRow]) -> None:
    watch_list_changes.put(connection, "x", ["a", "b"], ["w", "v"], "app")
    patched = watch_list_changes.patch(connection, "x", Patch(["c", "d"], ["a", "nobody"], ["u"], ["w", "v"]), "app")
    assert patched == watch_lists.get(connection, "x")
    assert shown(connection, "x") == (["b", "c", "d"], ["u"])
    last = watch_list_record.changes_since(connection, 1, 10)
    assert [(each.number, each.kind, each.added, each.removed) for each in last] == [(2, "changed", 2, 1)]
    assert [(each.watchers_added, each.watchers_removed) for each in last] == [(1, 2)]
    assert watch_list_changes.patch(connection, "unknown", Patch(["a"]), "app") is None
    assert watch_list_record.head(connection) == 2


def test_a_deleted_list_is_gone_and_stays_on_record(connection: Connection[TupleRow]) -> None:
    watch_list_changes.put(connection, "x", ["a", "b"], ["w"], "app")
    assert watch_list_changes.delete(connection, "x", "admin")
    assert not watch_list_changes.delete(connection, "x", "admin")
    assert watch_lists.get(connection, "x") is None
    assert shown(connection, "x") == ([], [])
    assert watch_lists.lists_of(connection, ["a", "b"]) == {}
    assert watch_list_changes.put(connection, "x", ["b"], [], "app")[1]
    kinds = [(each.number, each.kind, each.changed_by) for each in watch_list_record.changes_of(connection, "x", 0, 10)]
    assert kinds == [(1, "created", "app"), (2, "deleted", "admin"), (3, "created", "app")]
    assert watch_list_record.changes_of(connection, "other", 0, 10) == []


def test_lists_and_members_are_read_in_pages(connection: Connection[TupleRow]) -> None:
    for name in ("c", "ä", "B", "a"):
        watch_list_changes.put(connection, name, [f"u{number:03}" for number in range(25)], [], "app")
    pages = [watch_lists.page(connection, after, 2) for after in ("", "a", "c", "ä")]
    assert [[each.name for each in page] for page in pages] == [["B", "a"], ["c", "ä"], ["ä"], []]
    assert watch_lists.members_of(connection, "a", "u009", 3) == ["u010", "u011", "u012"]
    assert watch_lists.members_of(connection, "a", "u024", 3) == []


def test_who_is_on_which_list_and_who_is_told(connection: Connection[TupleRow]) -> None:
    watch_list_changes.put(connection, "x", ["a", "b"], ["w", "v"], "app")
    watch_list_changes.put(connection, "y", ["b", "c"], ["w", "u"], "app")
    watch_list_changes.put(connection, "z", ["d"], [], "app")
    watch_list_changes.patch(connection, "y", Patch(remove=["c"]), "app")
    assert watch_lists.lists_of(connection, ["a", "b", "c", "d", "nobody"]) == {"a": {"x"}, "b": {"x", "y"}, "d": {"z"}}
    everybody = ["a", "b", "c", "d"]
    assert watch_lists.watchers_of(connection, everybody) == {"a": {"w", "v"}, "b": {"w", "v", "u"}}
    assert watch_lists.watchers_of(connection, everybody, ["y", "z"]) == {"b": {"w", "u"}}
    assert watch_lists.watchers_of(connection, everybody, []) == {}


def test_who_came_and_who_left_since_a_change(connection: Connection[TupleRow]) -> None:
    watch_list_changes.put(connection, "x", ["stays", "leaves", "returns"], [], "app")
    before = watch_list_record.head(connection)
    watch_list_changes.patch(connection, "x", Patch(["comes", "visits"], ["leaves", "returns"]), "app")
    between = watch_list_record.head(connection)
    watch_list_changes.patch(connection, "x", Patch(["returns"], ["visits"]), "app")
    assert watch_list_record.moved_since(connection, "x", before) == MembershipChange(
        ["comes", "returns"], ["leaves", "visits"]
    )
    assert watch_list_record.moved_since(connection, "x", between) == MembershipChange(["returns"], ["visits"])
    assert watch_list_record.moved_since(connection, "x", watch_list_record.head(connection)) == MembershipChange(
        [], []
    )
    watch_list_changes.delete(connection, "x", "app")
    assert watch_list_record.moved_since(connection, "x", before).added == []
    assert watch_list_record.moved_since(connection, "x", before).removed == [
        "comes",
        "leaves",
        "returns",
        "stays",
        "visits",
    ]


def test_a_list_has_bounds_and_keeps_what_it_had(
    connection: Connection[TupleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_list_changes, "MAX_MEMBERS", 3)
    monkeypatch.setattr(watch_list_changes, "MAX_WATCHERS", 2)
    watch_list_changes.put(connection, "x", ["a", "b", "c", "a"], ["v", "w"], "app")
    for patch, of in ((Patch(["d"]), "members"), (Patch(add_watchers=["u"]), "watchers")):
        with pytest.raises(ListTooLarge) as error:
            watch_list_changes.patch(connection, "x", patch, "app")
        assert error.value.of == of
    for uids, watchers in ((["a", "b", "c", "d"], []), ([], ["u", "v", "w"])):
        with pytest.raises(ListTooLarge):
            watch_list_changes.put(connection, "x", uids, watchers, "app")
    watch_list_changes.patch(connection, "x", Patch(["d"], ["a"], ["u"], ["v"]), "app")
    assert shown(connection, "x") == (["b", "c", "d"], ["u", "w"])
    assert watch_list_record.head(connection) == 2


def test_changes_at_once_are_numbered_in_the_order_of_their_commits(database_url: str) -> None:
    def add(number: int) -> None:
        with session.connect(database_url) as own:
            for each in range(5):
                watch_list_changes.patch(
                    own, f"x{number % 2}", Patch([f"u{number}-{each}"], [f"u{number}-{each - 3}"]), "app"
                )

    with session.connect(database_url) as connection:
        for name in ("x0", "x1"):
            watch_list_changes.put(connection, name, [], [], "app")
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(add, range(4)))
        changes = watch_list_record.changes_since(connection, 0, 100)
        assert [each.number for each in changes] == list(range(1, 23))
        assert sorted(changes, key=lambda each: each.changed_at) == changes
        for name in ("x0", "x1"):
            assert len(shown(connection, name)[0]) == 2 * 3


def test_a_change_is_told_of(connection: Connection[TupleRow], database_url: str) -> None:
    with session.connect(database_url) as listener:
        listener.execute(f"LISTEN {CHANNEL}".encode())
        watch_list_changes.put(connection, "x", ["a"], [], "app")
        assert [each.channel for each in listener.notifies(timeout=60, stop_after=1)] == [CHANNEL]
