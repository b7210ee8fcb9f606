"""After a crash of a node with 100,000 users: how soon is everybody shown right, and what is the node asked for it?"""

import time
from collections import Counter
from dataclasses import dataclass, field

import psycopg

from bench import _watching
from bench._postgres import server
from bench._report import Bar, Options, Report, main, number, percentile, progress
from bench._simulated import SOURCE, Reconciling, amounts, profile_for
from bench._watching import MIB, Questions, most_a_second, running, shown, simulating, wait_until
from ledger.domain.policy import DEFAULT_POLICY
from ledger.simulator.events import Action, SimulatedEvent
from ledger.simulator.plan import Plan
from ledger.simulator.runtime import Simulation

DOWN_SECONDS = 3.0
RETURN_SHARE = 0.8
BUDGET_CALLS, BUDGET_USERS = DEFAULT_POLICY.budget_calls, DEFAULT_POLICY.budget_users
BURST_SECONDS = 0.25
"""So much of its budget a node may be asked at once."""

RIGHT_WITHIN_SECONDS = 60.0
BEFORE_SECONDS = 180.0
LOOK_EVERY_SECONDS = 0.5

HEADER = (
    "all right after the boot, s",
    "calls, most in a second",
    "in all",
    "users asked, most in a second",
    "in all",
    "POSTs, ms: median",
    "p99",
    "longest",
    "memory over idle, MiB",
)

_LOOKED_AT = "SELECT count(*) FROM looks WHERE source = %s AND looked_at IS NOT NULL"


@dataclass
class Heard:
    """What the simulation tells while it runs; instants by the monotonic clock."""

    booted_at: float | None = None
    posts: list[tuple[float, float, str]] = field(default_factory=list)
    """Of each POST: when it was answered, the seconds it took from when it was due, the answer."""
    simulation: Simulation | None = None

    def hear(self, event: SimulatedEvent) -> None:
        now = time.monotonic()
        if isinstance(event, Action):
            if event.do == "start" and event.t > 0:
                self.booted_at = now
        elif self.simulation is not None:
            self.posts.append((now, self.simulation.elapsed - event.t, event.answer))


@dataclass(frozen=True)
class Recovery:
    """What came of the crash. Instants by the monotonic clock, memory in bytes."""

    crashed_at: float
    booted_at: float
    right_at: float
    wrong_at_bound: int
    wrong_in_the_end: int
    back: int
    idle: int
    before: int
    peak: int


def measure(options: Options) -> Report:
    """One crash. Nobody else comes or goes meanwhile, so that all that is wrong is of the crash."""
    own, options = amounts(options, users=str(options.pick(100_000, 200)), profile="v2.2")
    users, return_seconds, bound = int(own["users"]), options.pick(20, 2), options.pick(60, 5)
    heard, questions = Heard(), Questions()
    with server(options) as postgres, postgres.database() as url, questions.counted():
        service = Reconciling(postgres.folder / "service", url, profile_for(own["profile"]), 1, {})
        with running(service):
            plan = Plan(
                target=service.url,
                nodes=service.nodes,
                profile=profile_for(own["profile"]),
                users=users,
                seconds=None,
                seed=options.seed,
                start_online=1.0,
            )
            idle = _watching.forget_peak(service)
            with simulating(plan, heard.hear) as simulation:
                heard.simulation = simulation
                simulation.calm(traffic=False)
                _settle(service, simulation, url, users)
                recovery = _crash(service, simulation, heard, idle, return_seconds, bound)
        describe = postgres.describe()
    return _report(
        options, describe, recovery, heard, questions, f"{users:,} users ({own['profile']})", return_seconds, bound
    )


def _wrong(service: Reconciling, simulation: Simulation, uids: set[str]) -> set[str]:
    """Those of the users who are not shown as they are."""
    online = set(simulation.world.online())
    return {uid for uid, status in shown(service, uids).items() if (status == "online") != (uid in online)}


def _everybody(simulation: Simulation) -> set[str]:
    return {person.uid for person in simulation.world.population.people}


def _settle(service: Reconciling, simulation: Simulation, url: str, users: int) -> None:
    """Wait until everybody is online, shown so, and looked at; but for those who left before traffic was stopped."""
    enough = 0.99 * users
    wait_until(
        lambda: simulation.world.population.online_count() >= enough, BEFORE_SECONDS, "not everybody is connected"
    )
    wrong = _everybody(simulation)

    def right() -> bool:
        nonlocal wrong
        wrong = _wrong(service, simulation, wrong)
        return not wrong

    wait_until(right, BEFORE_SECONDS, "not everybody is shown right before the crash", LOOK_EVERY_SECONDS)
    with psycopg.connect(url, autocommit=True) as connection:
        wait_until(lambda: _looked_at(connection) == users, BEFORE_SECONDS, "not everybody is looked at", 0.2)
    progress(f"{users:,} users online and shown so")


def _looked_at(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    row = connection.execute(_LOOKED_AT, (SOURCE,)).fetchone()
    assert row is not None
    return int(str(row[0]))


def _crash(
    service: Reconciling, simulation: Simulation, heard: Heard, idle: int, return_seconds: float, bound: float
) -> Recovery:
    before, crashed_at = _watching.forget_peak(service), time.monotonic()
    simulation.crash(service.nodes[0].name, down_seconds=DOWN_SECONDS, returns=(RETURN_SHARE, 0.0, return_seconds))
    wait_until(lambda: heard.booted_at is not None, DOWN_SECONDS + 60, "the node is not back")
    booted_at = heard.booted_at
    assert booted_at is not None
    # Until the last one is back nobody knows who will be wrong.
    time.sleep(max(0.0, booted_at + return_seconds - time.monotonic()))
    everybody = _everybody(simulation)
    wrong, right_at = everybody, 0.0
    while not right_at and time.monotonic() < booted_at + 2 * RIGHT_WITHIN_SECONDS:
        asked_at = time.monotonic()
        whole = wrong is everybody
        wrong = _wrong(service, simulation, wrong)
        progress(f"{asked_at - booted_at:.1f} s after the boot: {len(wrong):,} users wrong")
        if not wrong and whole:
            right_at = time.monotonic()
        # Who was right before may have become wrong: in the end everybody must be right at once.
        wrong = wrong or everybody
        time.sleep(LOOK_EVERY_SECONDS if wrong is not everybody else 0.0)
    time.sleep(max(0.0, booted_at + bound - time.monotonic()))
    wrong_at_bound = len(_wrong(service, simulation, everybody))
    peak = _watching.memory(service.pid, "VmHWM")
    back = simulation.world.population.online_count()
    # Of a whole look that found everybody right there is nothing left.
    in_the_end = 0 if right_at else len(_wrong(service, simulation, everybody))
    right_at = right_at or float("inf")
    return Recovery(crashed_at, booted_at, right_at, wrong_at_bound, in_the_end, back, idle, before, peak)


def _report(
    options: Options,
    server_described: str,
    recovery: Recovery,
    heard: Heard,
    questions: Questions,
    title: str,
    return_seconds: float,
    bound: float,
) -> Report:
    until = recovery.booted_at + bound
    asked = questions.between(recovery.crashed_at, until)
    calls, users = most_a_second(asked)
    posts = [post for post in heard.posts if recovery.crashed_at <= post[0] < until]
    took = [1000 * seconds for _, seconds, answer in posts if answer == "ok"]
    times = [number(percentile(took, share)) if took else "" for share in (0.5, 0.99, 1.0)]
    seconds = recovery.right_at - recovery.booted_at
    report = Report(
        f"A node with {title} killed, back after {DOWN_SECONDS:g} s; {recovery.back:,} users come back evenly within "
        f"{return_seconds:g} s of its boot; budget {BUDGET_CALLS:g} calls and {BUDGET_USERS:,.0f} users a second; "
        f"asked and posted from the crash to {bound:g} s after the boot; seed {options.seed}",
        server_described,
        HEADER,
    )
    report.rows.append(
        (
            number(seconds),
            str(calls),
            f"{len(asked):,}",
            f"{users:,}",
            f"{sum(each.users for each in asked):,}",
            *times,
            number((recovery.peak - recovery.idle) / MIB),
        )
    )
    report.bars += _bars(recovery, seconds, calls, users, bound)
    answers = Counter(answer for _, _, answer in posts)
    report.notes += [
        f"asked: {_watching.by_route(asked)}",
        f"POSTs, from when each was due: {', '.join(f'{count:,} {answer}' for answer, count in answers.items())}",
        (
            f"resident memory of the service, MiB: idle {number(recovery.idle / MIB)}, before the crash "
            f"{number(recovery.before / MIB)}, at most since {number(recovery.peak / MIB)}"
        ),
    ]
    return report


def _bars(recovery: Recovery, seconds: float, calls: int, users: int, bound: float) -> list[Bar]:
    burst = 1 + BURST_SECONDS
    return [
        Bar("everybody right after the boot", seconds, RIGHT_WITHIN_SECONDS, at_least=False, unit="s", speed=True),
        Bar(f"users wrong {bound:g} s after the boot", recovery.wrong_at_bound, 0, at_least=False, speed=True),
        Bar("users wrong in the end", recovery.wrong_in_the_end, 0, at_least=False),
        Bar(
            "calls, most in a second (a quarter second's budget at once)",
            calls,
            BUDGET_CALLS * burst,
            at_least=False,
            speed=True,
        ),
        Bar("users asked, most in a second", users, BUDGET_USERS * burst, at_least=False, speed=True),
    ]


if __name__ == "__main__":
    main("restart", "performance.md", measure)
