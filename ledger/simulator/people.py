"""The people of a simulation: uids of every kind, with their devices and windows, drawn from a seed."""

from dataclasses import dataclass
from itertools import count
from random import Random
from uuid import UUID

from ledger.simulator.cluster import slot_for

FLAG_SETS = ((0,), (0, 1), (0, 1, 1, 1), (0, 2), (0, 1, 2, 99), (4,), (5, 1), (1, 1), (42,))
KINDS_UP_TO = 64


@dataclass(frozen=True, slots=True)
class Person:
    """A user; `devices` are (device flag, device id), several windows of one flag among them."""

    uid: str
    devices: tuple[tuple[int, str], ...]


def _uid(number: int, random: Random, slot_zero: bool) -> str:
    if slot_zero:
        return next(uid for n in count() if slot_for(uid := f"s{number}x{n}") == 0)
    if number >= KINDS_UP_TO:
        return f"u{number}"
    special = {
        1: str(UUID(int=random.getrandbits(128), version=4)),
        2: f"用户-{number}",
        5: f"team-{number}-0-1-2",
        7: f"guest{number}___vstr",
    }
    return special.get(number % 8, f"u{number}")


def make_people(users: int, random: Random, many_slot_zero: bool) -> list[Person]:
    """`users` people; one in eight of the first 64, or every third of all, has a uid of slot 0."""
    people = []
    for number in range(users):
        slot_zero = number % 3 == 1 if many_slot_zero else number < KINDS_UP_TO and number % 8 == 4
        flags = random.choice(FLAG_SETS)
        devices = tuple((flag, f"d{place}") for place, flag in enumerate(flags))
        people.append(Person(_uid(number, random, slot_zero), devices))
    return people
