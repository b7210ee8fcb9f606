"""A crowd is folded as a tuple of few would be, and of a crowd a change copies one part."""

from collections.abc import Callable, Iterator
from random import Random

import msgspec
import pytest

from ledger.domain import crowd, presence, sessions
from ledger.domain.crowd import FEW, PARTS, Crowd, Edit, changes, encode_crowd
from ledger.domain.decide import decide
from ledger.domain.event_types import UserEvent
from ledger.domain.evolve import evolve
from ledger.domain.observation import Claim, Observation
from ledger.domain.policy import DEFAULT_POLICY
from ledger.domain.presence import Device, Presence, Session
from ledger.domain.profile import COUNTING, Profile
from tests.support.lived import lived

MANY = 1_000


def session(conn_id: int | None, seen_at: int = 1) -> Session:
    return Session(conn_id, "n1", 1, seen_at)


def crowd_of(*conn_ids: int | None) -> Crowd:
    made = Edit([session(conn_id, seen_at) for seen_at, conn_id in enumerate(conn_ids)]).done()
    assert isinstance(made, Crowd)
    return made


def device(held: object) -> Device:
    return Device("main", "", 0, 1, held)  # type: ignore[arg-type]


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From here on any sessions are a crowd."""

    def patch() -> None:
        for module in (crowd, presence, sessions):
            monkeypatch.setattr(module, "FEW", 0)

    return patch


@pytest.mark.parametrize("seed", range(8))
def test_a_life_at_random_is_folded_the_same(seed: int, always: Callable[[], None]) -> None:
    kept = [each for each in lived(seed, 80).ledger.kept if isinstance(each.event, UserEvent)]

    def folded() -> Iterator[Presence]:
        presences: dict[str, Presence] = {}
        for each in kept:
            assert each.uid is not None
            assert isinstance(each.event, UserEvent)
            before = presences.get(each.uid) or Presence(each.uid)
            presences[each.uid] = evolve(before, each.event, each.position)
            yield presences[each.uid]

    few = list(folded())
    always()
    many = list(folded())
    assert many == few
    assert any(isinstance(held.sessions, Crowd) for each in many for held in each.devices)


@pytest.mark.parametrize("seed", range(20))
def test_changes_at_random_come_to_the_same(seed: int, always: Callable[[], None]) -> None:
    def changed() -> Iterator[tuple[Session, ...]]:
        random, held = Random(seed), tuple[Session, ...]()
        for at in range(60):
            conn_id = random.choice([None, None, 1, 2, 3, 1 + PARTS])
            match random.randrange(6):
                case 0 | 1 | 2:
                    held = sessions.with_more(held, [session(conn_id, at)] * random.randint(0, 2))
                case 3:
                    held = sessions.without(held, conn_id, random.randint(0, 3))
                case 4:
                    held = sessions.without_each(held, [conn_id, None, conn_id, 7])
                case _ if held:
                    found = random.choice(list(held))
                    held = sessions.replaced(held, found, *[session(found.conn_id, at)] * random.randint(0, 1))
            yield held

    few = list(changed())
    always()
    assert [tuple(held) for held in changed()] == few


def test_it_stands_for_a_tuple_wherever_sessions_are_read() -> None:
    made = crowd_of(*range(MANY), None, 3)
    held = made.everyone()
    assert (len(made), made.unnamed, bool(made), made[-1], made[:2]) == (MANY + 2, 1, True, held[-1], held[:2])
    assert made == held
    assert held == made
    assert made == crowd_of(*range(MANY), None, 3)
    assert made != crowd_of(*range(MANY + 2))
    assert hash(made) == hash(held)
    assert repr(made).startswith("Crowd(Session(conn_id=0")
    assert [each.seen_at for each in made.of(3)] == [3, MANY + 1]


def test_of_any_device_that_has_many() -> None:
    few, many = device(tuple(map(session, range(FEW)))), device(tuple(map(session, range(FEW + 1))))
    assert [isinstance(each.sessions, Crowd) for each in (few, many)] == [False, True]
    assert many.session(FEW) == session(FEW)
    assert many.session(FEW + 1) is None
    assert (few.unnamed(), many.unnamed()) == (0, 0)
    assert type(msgspec.structs.replace(many, sessions=few.sessions).sessions) is tuple
    assert type(sessions.without(many.sessions, 5, 1)) is tuple


def test_it_is_stored_as_the_array_that_a_tuple_would_be() -> None:
    many = device(tuple(map(session, range(MANY))))
    stored = msgspec.msgpack.encode(many, enc_hook=encode_crowd)
    plain = msgspec.msgpack.decode(stored)
    assert len(plain[4]) == MANY
    assert msgspec.msgpack.decode(stored, type=Device) == many
    with pytest.raises(NotImplementedError, match="object"):
        encode_crowd(object())


def test_a_change_copies_one_part() -> None:
    """So that n connections of one user cost about n, whatever n is."""
    held: Presence = Presence("u")
    counting, copied = COUNTING[Profile.V2_2], []
    for online in (True, False):
        for number in range(MANY):
            left = number + 1 if online else MANY - number - 1
            claim = Claim("u", 0, online, number, left, left)
            seen = Observation(claim, "main", "n1", "d", number, "", 1)
            event = decide(counting, held, seen, DEFAULT_POLICY)
            before, held = held, evolve(held, event, held.position + 1)
            old, new = (each.devices[0].sessions if each.devices else () for each in (before, held))
            if isinstance(old, Crowd) and isinstance(new, Crowd):
                copied.append(sum(a is not b for a, b in zip(old.parts, new.parts, strict=True)))
    assert held.status == "offline"
    assert len(copied) > MANY
    assert set(copied) == {1}


def test_the_nameless_are_found_without_looking_at_those_before_them() -> None:
    made = crowd_of(*[None] * MANY)
    for left in range(MANY - 1, FEW, -1):
        edit = Edit(made)
        edit.remove(None)
        after = edit.done()
        assert isinstance(after, Crowd)
        made = after
        assert (made.unnamed, made.oldest) == (left, MANY - left)


def test_what_has_changed_between_two_of_one_origin() -> None:
    made = crowd_of(*range(MANY), 3)
    edit = Edit(made)
    edit.replace(session(3, MANY), session(3, MANY + 9))
    edit.remove(5)
    edit.add([session(None, 7)])
    after = edit.done()
    assert isinstance(after, Crowd)
    assert after.origin is made.origin
    # The other connection 3 is as it was.
    was, now = changes(made, after)
    assert was == {MANY: session(3, MANY), 5: session(5, 5)}
    assert now == {MANY: session(3, MANY + 9), MANY + 1: session(None, 7)}
