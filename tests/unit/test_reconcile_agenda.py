"""The agenda in memory: who is due when, in order, each once, and who would be next in turn."""

import pytest

from ledger.domain.look import Watch
from ledger.replay.memory_agenda import MemoryAgenda


def agenda(**due: int) -> MemoryAgenda:
    made = MemoryAgenda()
    for uid, at in due.items():
        made.put(uid, Watch(at))
    return made


def test_an_empty_agenda() -> None:
    empty = MemoryAgenda()
    assert (len(empty), empty.take_due(100)) == (0, [])
    assert "u" not in empty
    with pytest.raises(KeyError):
        empty.get("u")


def test_who_is_due_is_taken_in_order_and_once() -> None:
    found = agenda(a=30, b=10, c=20, d=40)
    assert found.take_due(30) == [(10, "b"), (20, "c"), (30, "a")]
    assert found.take_due(30) == []
    assert len(found) == 4


def test_who_was_taken_is_known_and_in_nobodys_turn_until_put_back() -> None:
    found = agenda(a=10)
    found.take_due(10)
    assert found.get("a") == Watch(10)
    assert "a" in found
    found.put("a", Watch(15, "confirm"))
    assert found.take_due(20) == [(15, "a")]
    found.put("a", Watch(15))
    assert found.take_due(20) == [(15, "a")]


def test_a_turn_that_moved_is_not_taken_at_its_old_place() -> None:
    found = agenda(a=10, b=20)
    found.put("a", Watch(30))
    assert found.take_due(25) == [(20, "b")]
    found.put("a", Watch(5))
    assert found.take_due(25) == [(5, "a")]
    assert found.take_due(100) == []


def test_a_watch_may_change_without_its_turn() -> None:
    found = agenda(a=10)
    found.put("a", Watch(10, "suspect"))
    assert found.get("a").urgent == "suspect"
    assert found.take_due(10) == [(10, "a")]
    assert found.take_due(10) == []


def test_who_is_next_in_turn_of_those_wanted() -> None:
    found = agenda(a=50, b=10, c=30, d=20, e=40)
    assert found.soonest(2, lambda uid: uid != "b", ["d"]) == ["c", "e"]
    assert found.soonest(9, lambda _: True, []) == ["b", "d", "c", "e", "a"]
    assert found.soonest(0, lambda _: True, []) == []
    assert found.soonest(9, lambda _: False, []) == []
    found.take_due(20)
    assert found.soonest(1, lambda _: True, []) == ["c"]
