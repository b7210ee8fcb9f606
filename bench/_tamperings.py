"""What somebody may do to a ledger who has its database in their hands, as a superuser has, and not the seals' key."""

from collections.abc import Callable
from typing import Any, NamedTuple

import psycopg

from ledger.store.raw_events import rows as raw_rows
from ledger.store.raw_events import take
from ledger.store.seal import SealChain, SealKey, instant_from_count
from ledger.store.seals import read

Connection = psycopg.Connection[Any]

COLUMNS = "stream, version, position, kind, payload, recorded_at"
FORGER = SealKey("what-somebody-takes-who-has-not-the-key")


class Tampering(NamedTuple):
    """What is done, and the first position that it alters."""

    what: str
    position: int
    do: Callable[[Connection], None]


class Runs(NamedTuple):
    """The first and the last position of some seals, and the ledger's head."""

    early: tuple[int, int]
    middle: tuple[int, int]
    late: tuple[int, int]
    head: int


def runs_of(connection: Connection) -> Runs:
    """The runs that are tampered with."""
    runs = connection.execute("SELECT first_position, last_position FROM seals ORDER BY first_position").fetchall()
    early, middle, late = (runs[len(runs) * quarter // 4] for quarter in (1, 2, 3))
    return Runs(early, middle, late, runs[-1][1])


def tamperings(runs: Runs) -> list[Tampering]:
    """Of events: in the middle of runs, at their edges, at both ends of the ledger; and of seals."""
    return [*_of_rows(runs), *_of_seals(runs)]


def _of_rows(runs: Runs) -> list[Tampering]:
    (first, last), head, place, other = runs.middle, runs.head, runs.middle[0] + 7, runs.late[0] + 7
    copied = f"INSERT INTO events ({COLUMNS}) SELECT 'user:nobody', 1, {{}}, kind, payload, recorded_at FROM events"
    flip = "UPDATE events SET payload = set_bit(payload, 9, 1 - get_bit(payload, 9)) WHERE position = {}"
    swap = "UPDATE events SET position = {0} + {1} - position WHERE position IN ({0}, {1})"
    earlier = "UPDATE events SET recorded_at = recorded_at - interval '1 microsecond' WHERE position = {}"
    turn = "UPDATE events SET position = {0} + {1} - position WHERE position BETWEEN {0} AND {1}"
    return [
        _sql("one bit of an event", place, flip.format(place)),
        _sql("one bit of the first event", 1, flip.format(1)),
        _sql("one bit of the last event", head, flip.format(head)),
        _sql("`recorded_at` of an event", place, earlier.format(place)),
        _sql("a row deleted", place, f"DELETE FROM events WHERE position = {place}"),
        _sql("the last row deleted", head, f"DELETE FROM events WHERE position = {head}"),
        _sql("the events of a seal deleted", first, f"DELETE FROM events WHERE position BETWEEN {first} AND {last}"),
        _sql("a row inserted, its position taken", place, f"{copied.format(place)} WHERE position = {place}"),
        _sql("a row inserted at the end", head + 1, f"{copied.format(head + 1)} WHERE position = {head}"),
        _sql("two swapped", place, swap.format(place, place + 1)),
        _sql("two of different commits swapped", place, swap.format(place, other)),
        _sql("a commit's events in reverse order", first, turn.format(first, last)),
    ]


def _of_seals(runs: Runs) -> list[Tampering]:
    first, last = runs.middle
    place = first + 7
    this = f"WHERE first_position = {first}"
    flip = f"UPDATE seals SET {{0}} = set_bit({{0}}, 9, 1 - get_bit({{0}}, 9)) {this}"
    delete = f"DELETE FROM events WHERE position BETWEEN {first} AND {last}"
    return [
        _sql("a seal removed", first, f"DELETE FROM seals {this}"),
        _sql("a seal removed with its events", first, f"DELETE FROM seals {this}", delete),
        _sql("a seal altered", first, flip.format("seal")),
        _sql("a digest altered", first, flip.format("digests")),
        _sql("`recorded_at` of a seal", first, f"UPDATE seals SET recorded_at = now() {this}"),
        Tampering("an event and its seal rewritten", first, lambda c: _forge(c, place, first, last, FORGER.id)),
        Tampering("… with its successors", first, lambda c: _forge(c, place, first, runs.head, FORGER.id)),
        Tampering("… under the id of the true key", first, lambda c: _forge(c, place, first, runs.head, None)),
    ]


def _sql(what: str, position: int, *statements: str) -> Tampering:
    def do(connection: Connection) -> None:
        for statement in statements:
            connection.execute(statement.encode())

    return Tampering(what, position, do)


def _forge(connection: Connection, place: int, first: int, up_to: int, key_id: bytes | None) -> None:
    """Alter an event and make the seals from its own on again, as well as can be done without the key."""
    connection.execute("UPDATE events SET payload = '{}' WHERE position = %s", (place,))
    before = connection.execute("SELECT seal FROM seals WHERE last_position = %s", (first - 1,)).fetchone()
    chain = SealChain(FORGER, before[0] if before else None)
    for seal in [each for each in read(connection, first) if each.last_position <= up_to]:
        found = take(raw_rows(connection, seal.first_position, seal.last_position), seal.last_position)
        chain.add(seal.first_position, instant_from_count(seal.recorded_at), b"".join(found.digests))
        made = chain.end()
        assert made is not None
        connection.execute(
            "UPDATE seals SET digests = %b, seal = %b, key_id = %b WHERE first_position = %s",
            (made.digests, made.seal, key_id or seal.key_id, made.first_position),
        )
