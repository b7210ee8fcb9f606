"""Users in a row whom webhooks name and queries do not find: one who is found ends it."""

from ledger.domain.strangers import Strangers


def test_they_are_counted_in_a_row_from_the_first_on() -> None:
    strangers = Strangers()
    for looked, absent, at in ((0, 0, 1), (3, 3, 2), (0, 0, 3), (4, 4, 4)):
        strangers.note(looked, absent, at)
    assert (strangers.users, strangers.since) == (7, 2)


def test_one_who_is_found_proves_that_it_is_the_right_cluster() -> None:
    strangers = Strangers()
    strangers.note(9, 9, 1)
    strangers.note(9, 8, 2)
    assert (strangers.users, strangers.since) == (0, None)


def test_a_boot_explains_them() -> None:
    strangers = Strangers()
    strangers.note(9, 9, 1)
    strangers.forget()
    strangers.note(1, 1, 5)
    assert (strangers.users, strangers.since) == (1, 5)


def test_before_anybody_was_looked_at_nothing_is_told() -> None:
    strangers = Strangers()
    assert not strangers.tells
    strangers.note(0, 0, 1)
    assert not strangers.tells
    strangers.note(1, 0, 2)
    assert strangers.tells
