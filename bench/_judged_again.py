"""A ledger judged again under another policy, by one process and by two, and read: rounds in turn."""

import resource
import time
from functools import partial

import msgspec
from psycopg import Connection
from psycopg.rows import TupleRow

from bench._crowd import Crowd
from bench._in_turn import Costs, in_turn
from bench._postgres import server
from bench._report import Bar, Options, Report, median, number, progress
from bench._seed import Seeder
from bench._simulated import amounts
from ledger.replay.of_ledger import LedgerPart, at_one_moment, judge_share
from ledger.replay.processes import judge_in_processes
from ledger.replay.replayed import Replayed
from ledger.replay.slice import Trial
from ledger.settings.policy import override_policy
from ledger.slices import ledger_rows
from ledger.slices.share import MAX_SHARES, WHOLE, Share
from ledger.slices.taking import SliceScope
from ledger.store import session
from ledger.store.mapper import EventMapper

NODES = 16
USERS = 24_000
BODY_ITEMS = 50
POLICY = ("grace_seconds=5", "dedupe_seconds=30")
ONE, TWO = "one process", "two processes"
GOAL = 1_000_000


def measure(options: Options) -> Report:
    """Rounds of one process and of two in turn, over one ledger: `--set events= rounds=`."""
    given, options = amounts(options, events="1000" if options.short else "300000", rounds=str(options.pick(5, 1)))
    events, rounds = int(given["events"]), int(given["rounds"])
    users = options.pick(USERS, NODES)
    with server(options) as postgres, postgres.database() as url:
        seeder = Seeder(url, [Crowd(node, users // NODES, options.seed) for node in range(NODES)])
        seeder.everybody_online()
        seeder.come_and_go(events, BODY_ITEMS, over_seconds=86_400.0)
        trial = Trial(partial(override_policy, assignments=POLICY), with_stories=False)
        results: dict[str, bytes] = {}
        with (
            session.connect(url) as connection,
            at_one_moment(connection, EventMapper(), SliceScope()) as moment,
        ):

            def judged(way: str, _: int) -> tuple[float, Costs]:
                began, spent = time.perf_counter(), _processor()
                found = _judged(way, connection, url, moment, trial)
                seconds, spent = time.perf_counter() - began, _processor() - spent
                results[way] = msgspec.json.encode(found.as_dict())
                return moment.positions / seconds, (1e6 * spent / moment.positions,)

            reading = [_seconds_to_read(connection, moment, WHOLE) for _ in range(rounds)]
            passing = [_seconds_to_read(connection, moment, Share(0, MAX_SHARES)) for _ in range(rounds)]
            found = in_turn((ONE, TWO), rounds, 0, judged)
        described = postgres.describe()
    raw = moment.positions / median(reading)
    report = Report(
        f"A ledger of {moment.positions:,} events of {users:,} users in bodies of {BODY_ITEMS}, judged again with "
        f"`{' '.join(POLICY)}` and `--summary`; the same rows read and not judged by one; medians of {rounds} rounds",
        described,
        ("", "events/s", "of reading", "µs of processor an event, all processes"),
    )
    report.rows.append(("the rows read", number(raw), "1", ""))
    for way in (ONE, TWO):
        speed, spent = found.medians(way)
        report.rows.append((way, number(speed), number(speed / raw), number(spent)))
    ratio = found.speed_ratio(TWO, ONE)
    report.bars += [
        Bar(
            "outcomes of two processes that are not one's to the byte", results[ONE] != results[TWO], 0, at_least=False
        ),
        Bar("two processes, of the speed of one, on two cores", ratio, 1.7, at_least=True, speed=True),
    ]
    (alone,), (both,) = ([median([spent for (spent,) in found.costs[way]])] for way in (ONE, TWO))
    report.notes.append(
        f"by their processor time, two on two cores that are theirs: {number(2 * alone / both)} times one"
    )
    report.notes.append(_on_paper(alone, 1e6 * min(passing) / moment.positions))
    return report


def _judged(way: str, connection: Connection[TupleRow], url: str, moment: LedgerPart, trial: Trial) -> Replayed:
    if way == ONE:
        return judge_share(connection, moment, trial, lambda _: None)
    return judge_in_processes(url, moment, trial, 2, lambda *_: None)


def _processor() -> float:
    """Seconds of it that this process and those that it has ended used so far; PostgreSQL's are not among them."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _seconds_to_read(connection: Connection[TupleRow], moment: LedgerPart, share: Share) -> float:
    """Within the moment's transaction."""
    began = time.perf_counter()
    rows = ledger_rows.between(connection, moment.bounds.start, moment.bounds.stop, None, share)
    read = sum(1 for _ in rows)
    seconds = time.perf_counter() - began
    progress(f"{read:,} rows read in {seconds:.2f} s")
    return seconds


def _on_paper(judging: float, passing: float) -> str:
    """What more cores would come to, of microseconds an event: each process judges its share and passes over others."""
    speed = 1e6 / (judging / MAX_SHARES + passing)
    return (
        f"on paper: {judging:.1f} µs of processor to judge an event and {passing:.2f} µs until PostgreSQL has passed "
        f"over one of another share make {number(speed)} events/s of {MAX_SHARES} processes on as many cores; where "
        f"what is read is stored by share, and nothing passed over, {judging * GOAL / 1e6:.0f} processes make {GOAL:,}"
    )
