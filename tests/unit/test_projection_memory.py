"""What a projection remembers of users: each once, as of one place alone, and not too many."""

from projections.engine.memory import Memory


def test_who_was_taken_is_known_again_once_they_are_kept() -> None:
    memory = Memory()
    memory.keep({"alice": 1, "bob": ()})
    assert memory.take(["alice", "bob", "carol"]) == {"alice": 1, "bob": ()}
    assert memory.take(["alice", "bob"]) == {}
    memory.keep({"alice": 2})
    assert memory.take(["alice"]) == {"alice": 2}


def test_of_too_many_those_go_who_were_kept_longest_ago() -> None:
    memory = Memory(max_users=3)
    memory.keep({"a": 1, "b": 2, "c": 3})
    memory.keep(memory.take(["a"]))
    memory.keep({"d": 4, "e": 5})
    assert memory.take("abcde") == {"a": 1, "d": 4, "e": 5}


def test_it_is_as_of_the_place_to_which_it_was_moved_and_of_no_other() -> None:
    memory = Memory()
    memory.hold_to("first")
    memory.keep({"alice": 1})
    memory.moved_to("second")
    memory.hold_to("second")
    assert memory.take(["alice"]) == {"alice": 1}
    memory.keep({"alice": 2})
    memory.moved_to("third")
    memory.hold_to("another's")
    assert memory.take(["alice"]) == {}


def test_it_is_as_of_no_place_until_it_is_known_that_it_was_moved_there() -> None:
    memory = Memory()
    memory.hold_to("first")
    memory.keep({"alice": 1})
    memory.moved_to("second")
    memory.hold_to("second")
    memory.hold_to("second")
    assert memory.take(["alice"]) == {}


def test_nobody_is_known_after_a_batch_that_was_undone() -> None:
    memory = Memory()
    memory.keep({"alice": 1})
    memory.forget()
    assert memory.take(["alice"]) == {}
