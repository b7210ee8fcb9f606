"""Every projection held against a fresh fold of the ledger, row for row, at the place to which it has come."""

import time
from typing import NamedTuple

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.working_state import followers
from projections.engine import checkpoints, rebuild, switch
from projections.engine.rebuild import Rebuild
from projections.models.rebuild_current import RebuildCurrent
from projections.models.registry import FOLLOWING

ARRIVE_SECONDS = 120.0
LOOK_SECONDS = 0.1

_DIFFERENT = """
SELECT (SELECT count(*) FROM (TABLE {0} EXCEPT ALL TABLE {1}) AS live_alone)
     + (SELECT count(*) FROM (TABLE {1} EXCEPT ALL TABLE {0}) AS made_alone), (SELECT count(*) FROM {1})
"""


class Held(NamedTuple):
    """One projection: rows that its tables have in all, and those in which live and rebuilt are not the same."""

    projection: str
    position: int
    rows: int
    different: int


def wait_for_projections(url: str) -> None:
    """Wait until each has come to the head; nobody may be appending. Raises RuntimeError where one does not arrive."""
    deadline = time.monotonic() + ARRIVE_SECONDS
    with psycopg.connect(url, autocommit=True) as connection:
        while behind := [each for each in checkpoints.read(connection) if each.lag]:
            if time.monotonic() > deadline or any(each.state == "stopped" for each in behind):
                raise RuntimeError(f"not at the head: {behind}")
            time.sleep(LOOK_SECONDS)


def wait_for_followers(url: str) -> None:
    """Wait until nobody has anything left to do: each projection is at the head, and so is the agenda of looks."""
    wait_for_projections(url)
    deadline = time.monotonic() + ARRIVE_SECONDS
    with psycopg.connect(url, autocommit=True) as connection:
        while followers.followed(connection) < max(each.head for each in checkpoints.read(connection)):
            if time.monotonic() > deadline:
                raise RuntimeError("the agenda is not at the head")
            time.sleep(LOOK_SECONDS)


def held_against_rebuilt(url: str) -> list[Held]:
    """Fold the ledger from scratch for each projection, alongside the live one, and compare. Nobody may append."""
    wait_for_projections(url)
    found = []
    for name, projection in FOLLOWING.items():
        with rebuild.alone(url, name) as connection:
            place = next(each.position for each in checkpoints.read(connection) if each.name == name)
            Rebuild(connection, url, projection).build(_untold, place)
            rows = [_different(connection, table) for table in projection.tables]
        found.append(Held(name, place, sum(number for _, number in rows), sum(number for number, _ in rows)))
    with rebuild.alone(url, checkpoints.INLINE) as connection:
        made = RebuildCurrent(connection, url)
        made.build(_untold)
        compared = made.compare()
        _, number = _different(connection, "current")
    found.append(Held(checkpoints.INLINE, compared.position, number, compared.different))
    return found


def _different(connection: Connection[TupleRow], table: str) -> tuple[int, int]:
    query = _DIFFERENT.format(f'"{table}"', f'{switch.SCHEMA}."{table}"')
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0], row[1]


def _untold(done: int, of: int) -> None:
    """Nobody waits for it."""
