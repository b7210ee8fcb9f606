"""How fast is a rebuild of each projection, as a share of merely fetching the same rows? And is it the live one?"""

import random
import time
from collections.abc import Callable, Iterator

import psycopg

from bench._crowd import Crowd
from bench._postgres import server
from bench._rebuilt import held_against_rebuilt
from bench._report import Bar, Options, Report, main, median, number, progress
from bench._seed import Seeder
from ledger.domain.observation import SECOND
from ledger.domain.reconciliation_events import Finding, PollObserved
from ledger.store.mapper import USER_KINDS
from projections.engine import rebuild
from projections.engine.checkpoints import INLINE
from projections.engine.projector import BATCH_EVENTS, Projector
from projections.engine.rebuild import Rebuild
from projections.models.rebuild_current import RebuildCurrent
from projections.models.registry import FOLLOWING

USERS = 40_000
BUSY_USERS = 20
NODES = 4
BODY_ITEMS = 512
DAY_SECONDS = 86_400.0
FINDINGS = 5
FETCHED_ROWS = 5_000
CURRENT_SHARE, OTHER_SHARE = 1 / 3, 1 / 10

_FETCH = """
SELECT position, stream, version, kind, payload, recorded_at FROM events WHERE kind = ANY(%s) ORDER BY position
"""


def measure(options: Options) -> Report:
    """Fetching and rebuilding in turn; then what is live is held against a fresh fold once more."""
    events, rounds = options.pick(1_000_000, 4_000), options.pick(3, 1)
    with server(options) as postgres, postgres.database() as url:
        _seed(url, events, options.seed)
        _follow(url)
        found = {name: _in_turns(url, name, rounds, postgres.settle) for name in (INLINE, *FOLLOWING)}
        held = held_against_rebuilt(url)
        described = postgres.describe()
    report = Report(
        f"Rebuilds of a ledger of {events:,} events of {USERS:,} users alongside the live projections, from the first "
        f"event to the switch, and fetching the rows that each reads (psycopg, binary, server-side cursor, "
        f"{FETCHED_ROWS:,} at a time, rows dropped), in turn, medians of {rounds} rounds",
        described,
        ("projection", "events that it reads", "fetched a second", "rebuilt a second", "share"),
    )
    for name, (rows, fetch, rebuilt) in found.items():
        share = fetch / rebuilt
        report.rows.append((name, f"{rows:,}", number(rows / fetch), number(rows / rebuilt), number(share)))
        bound = CURRENT_SHARE if name == INLINE else OTHER_SHARE
        report.bars.append(Bar(f"{name}, share of fetching", share, bound, at_least=True, speed=True))
    different = sum(each.different for each in held)
    report.bars.append(Bar("rows that differ between live and rebuilt", different, 0, at_least=False))
    report.notes.append("rows compared: " + ", ".join(f"{each.projection} {each.rows:,}" for each in held))
    return report


def _seed(url: str, events: int, seed: int) -> None:
    """Users who come and go, some of them very often, and polls that find drifts."""
    busy = Crowd(NODES, BUSY_USERS)
    crowds = [*(Crowd(node, USERS // NODES) for node in range(NODES)), busy]
    progress(f"making a ledger of {events:,} events")
    seeder = Seeder(url, crowds)
    uids = [uid for crowd in crowds for uid in crowd.uids]
    polls = events // 100
    seeder.come_and_go(events - polls, BODY_ITEMS, DAY_SECONDS)
    seeder.of_source(_polls(uids, polls, random.Random(seed)))


def _polls(uids: list[str], count: int, draw: random.Random) -> Iterator[PollObserved]:
    """Each drift is open at a poll, and corrected at the next one but some."""
    at = time.time_ns() // 1000
    drifting: list[Finding] = []
    for name in range(count):
        at += SECOND // 10
        ended = [Finding(f.uid, f.drift, "corrected", f.agreed_at, f.disagreed_at, f.attributed_to) for f in drifting]
        found = [Finding(uid, "ghost", "open", at - SECOND, at, "gap") for uid in draw.sample(uids, FINDINGS)]
        yield PollObserved(
            poll=f"p{name}",
            run="r",
            node="n1",
            route="POST /user/onlinestatus",
            asked_at=at,
            answered_at=at,
            asked=500,
            agreed=495,
            head=0,
            findings=(*ended, *found),
        )
        drifting = found


def _follow(url: str) -> None:
    """Bring the projections to the head, as the projector's process does."""
    progress("following it")
    projector, batches = Projector(FOLLOWING), 0
    with psycopg.connect(url, autocommit=True) as connection:
        while projector.round(connection):
            batches += 1
            if batches % 100 == 0:
                progress(f"{batches * BATCH_EVENTS:,} events followed")
        connection.execute("VACUUM ANALYZE")


def _in_turns(url: str, name: str, rounds: int, settle: Callable[[], None]) -> tuple[int, float, float]:
    """-> (events that it reads, seconds for fetching them, seconds for the rebuild), medians."""
    kinds = USER_KINDS if name == INLINE else FOLLOWING[name].kinds
    fetches, rebuilds, rows = [], [], 0
    for _ in range(rounds):
        settle()
        started = time.perf_counter()
        rows = _fetch(url, sorted(kinds))
        fetches.append(time.perf_counter() - started)
        settle()
        started = time.perf_counter()
        _rebuild(url, name)
        rebuilds.append(time.perf_counter() - started)
        progress(f"{name}: fetched in {fetches[-1]:.2f} s, rebuilt in {rebuilds[-1]:.2f} s")
    return rows, median(fetches), median(rebuilds)


def _fetch(url: str, kinds: list[str]) -> int:
    rows = 0
    with psycopg.connect(url) as connection, connection.cursor("fetch", binary=True) as cursor:
        cursor.execute(_FETCH, (kinds,))
        while page := cursor.fetchmany(FETCHED_ROWS):
            rows += len(page)
    return rows


def _rebuild(url: str, name: str) -> None:
    with rebuild.alone(url, name) as connection:
        if name == INLINE:
            compared = RebuildCurrent(connection, url).run(_untold)
            assert compared.different == 0, compared
        else:
            Rebuild(connection, url, FOLLOWING[name]).run(_untold)


def _untold(done: int, of: int) -> None:
    """The bars say it all."""


if __name__ == "__main__":
    main("rebuild", "performance.md", measure)
