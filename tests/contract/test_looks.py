"""The agenda in PostgreSQL: who is due, the longest waiting first, and what the ledger's events change of that."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from psycopg import Connection

from ledger.domain.drift import Doubt
from ledger.domain.look import Watch
from ledger.domain.observation import SECOND
from ledger.domain.profile import Profile
from ledger.store.ledger import Ledger
from ledger.working_state import followers, looks
from ledger.working_state.looks import DueCounts
from projections.models import current
from tests.support import pg
from tests.support.ledgers import SOURCE
from tests.support.strategies import Feed, Post

T = 1_800_000_000 * SECOND
DOUBT = Doubt("ghost", T - SECOND, T, 4711, 2, held=True)


@pytest.fixture
def connection(ledger: Ledger) -> Iterator[Connection[Any]]:
    with ledger.connection() as connection:
        yield connection


def put(connection: Connection[Any], watches: Mapping[str, Watch], source: str = SOURCE) -> None:
    looks.write(connection.cursor(), source, watches)


def watch(connection: Connection[Any], uid: str, source: str = SOURCE) -> Watch:
    return looks.of_users(connection, source, [uid])[uid]


def known(connection: Connection[Any], online: list[str], offline: list[str]) -> None:
    """Users of `current`."""
    feed = Feed(Profile.V2_2)
    feed.post(Post(0.0, SOURCE, "n1", tuple(f"{uid}-0-1-{n}-1-1" for n, uid in enumerate([*online, *offline], 1))))
    feed.post(Post(9.0, SOURCE, "n1", tuple(f"{uid}-0-0-{n}-0-0" for n, uid in enumerate(offline, 1 + len(online)))))
    presences = [feed.draft.presence(uid) for uid in (*online, *offline)]
    current.write(connection.cursor(), list(current.to_rows(presences)))


@pg.on_every_server
def test_a_watch_is_kept_as_it_is(connection: Connection[Any]) -> None:
    watches = {
        "u": Watch(T, "confirm", T - 5, DOUBT, T - 1),
        "用户": Watch(T),
        "'; DROP TABLE looks; --": Watch(0, None, 7, None, 8),
    }
    put(connection, watches)
    assert looks.of_users(connection, SOURCE, [*watches, "nobody"]) == watches
    assert looks.of_users(connection, "other", list(watches)) == {}
    put(connection, {"u": Watch(T + 9)})
    put(connection, {})
    assert watch(connection, "u") == Watch(T + 9)


@pg.on_every_server
def test_what_leaves_no_event_is_noted_where_the_doubt_is_the_one_judged_on(connection: Connection[Any]) -> None:
    other = msgspec.structs.replace(DOUBT, looks=3)
    before = {
        "same": Watch(T, "confirm", T - 5, DOUBT, T - 1),
        "another": Watch(T, "confirm", T - 5, other, T - 1),
        "over": Watch(T, None, T - 5, None, T - 1),
        "doubted": Watch(T, "confirm", T - 5, DOUBT, T - 1),
        "later": Watch(T, None, T, None, T),
    }
    put(connection, before)
    judged_on = {"same": DOUBT, "another": DOUBT, "over": DOUBT, "doubted": None, "later": None, "new": None}
    noted = {uid: Watch(T + 9, "overtaken", T - 3, doubt, T - 2) for uid, doubt in judged_on.items()}
    with connection.transaction():
        moved = looks.write_unmoved(connection.cursor(), SOURCE, noted)
        assert looks.write_unmoved(connection.cursor(), SOURCE, {}) == set()
    assert moved == {"another", "over", "doubted"}
    assert looks.of_users(connection, SOURCE, list(noted)) == before | {
        "same": Watch(T + 9, "overtaken", T - 3, DOUBT, T - 1),
        "later": Watch(T + 9, "overtaken", T, None, T),
        "new": Watch(T + 9, "overtaken", T - 3, None, T - 2),
    }


@pg.on_every_server
def test_who_is_due_comes_in_the_order_of_waiting(connection: Connection[Any]) -> None:
    in_turn = {f"t{n}": Watch(T - n * SECOND) for n in range(4)}
    urgent = {f"u{n}": Watch(T - n * SECOND, "restart") for n in range(4)}
    later = {"later": Watch(T + 1), "urgent later": Watch(T + 1, "confirm", None, DOUBT)}
    put(connection, in_turn | urgent | later)
    put(connection, {"elsewhere": Watch(0, "restart")}, "other")
    assert list(looks.due(connection, SOURCE, T, 3, urgent=True)) == ["u3", "u2", "u1"]
    assert list(looks.due(connection, SOURCE, T, 10, urgent=False)) == ["t3", "t2", "t1", "t0"]
    assert looks.due_counts(connection, SOURCE, T) == DueCounts(4, 8)
    assert looks.due_counts(connection, SOURCE, T + 1) == DueCounts(5, 10)
    assert looks.due_counts(connection, "nothing", T) == DueCounts(0, 0)


@pg.on_every_server
def test_everybody_page_by_page_and_the_online_next_in_turn(connection: Connection[Any]) -> None:
    online, offline = [f"a{n}" for n in range(5)], [f"b{n}" for n in range(5)]
    known(connection, online, offline)
    looks.add_everybody(connection.cursor())
    assert looks.of_users(connection, SOURCE, [*online, *offline]) == dict.fromkeys([*online, *offline], Watch(0))
    put(connection, {"a2": Watch(T), "a1": Watch(T, "confirm"), "b0": Watch(T, None, T)})
    looks.add_everybody(connection.cursor())
    assert watch(connection, "b0") == Watch(T, None, T)
    assert looks.online_after(connection, SOURCE, "", 3) == ["a0", "a1", "a2"]
    assert looks.online_after(connection, SOURCE, "a2", 3) == ["a3", "a4"]
    assert looks.online_after(connection, "other", "", 3) == []
    assert list(looks.known_after(connection, SOURCE, "a3", 3)) == ["a4", "b0", "b1"]
    assert looks.known_after(connection, "other", "", 3) == {}
    assert set(looks.soonest_online(connection, SOURCE, 10)) == {"a0", "a2", "a3", "a4"}
    assert set(looks.soonest_online(connection, SOURCE, 1)) < set(online)


@pg.on_every_server
@pytest.mark.parametrize("lock", [False, True])
def test_a_rule_changes_watches_as_they_are_just_then(connection: Connection[Any], lock: bool) -> None:
    before = {"same": Watch(T, "confirm", 1, DOUBT, 2), "sooner": Watch(T + 9, None, 1, DOUBT, 2), "moved": Watch(T)}
    put(connection, before)
    asked: list[str] = []

    def rule(uid: str, watch: Watch | None) -> Watch | None:
        asked.append(uid)
        assert watch == (Watch(T, None, 5, None, T) if asked.count("moved") == 2 else before.get(uid))
        if uid == "moved" and not lock and asked.count(uid) == 1:
            # A look was judged while we thought about it.
            put(connection, {"moved": Watch(T, None, 5, None, T)})
        if uid == "nobody":
            return None
        return watch if uid == "same" else msgspec.structs.replace(watch or Watch(T), due_at=T + 1, urgent="late")

    with connection.transaction():
        looks.change(connection, SOURCE, [*before, "new", "nobody"], rule, lock=lock)
        looks.change(connection, SOURCE, [], rule)
    moved = Watch(T + 1, "late") if lock else Watch(T + 1, "late", 5, None, T)
    assert looks.of_users(connection, SOURCE, [*before, "new", "nobody"]) == {
        "same": before["same"],
        "sooner": Watch(T + 1, "late", 1, DOUBT, 2),
        "moved": moved,
        "new": Watch(T + 1, "late"),
    }


def test_how_far_the_agenda_has_heard(connection: Connection[Any]) -> None:
    assert followers.followed(connection) == 0
    followers.note_followed(connection.cursor(), 4711)
    assert followers.followed(connection) == 4711
