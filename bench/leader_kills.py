"""Is a run lost or a correction doubled when the leading instance is killed, and how soon does another one lead?"""

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import psycopg

from bench._corrections import Corrections
from bench._postgres import server
from bench._report import Bar, Options, Report, main, median, number, progress
from bench._service import SEAL_KEY
from bench._simulated import Reconciling, amounts, new_nodes, nobody_listens, profile_for
from bench._watching import simulating, wait_until
from ledger.domain.event_types import Event
from ledger.domain.reconciliation_events import RunEnded, RunStarted
from ledger.simulator.plan import Plan
from ledger.store.ledger import Ledger
from ledger.store.mapper import USER_PREFIX

TAKEOVER_SECONDS = 10.0
WAIT_SECONDS = 12 * TAKEOVER_SECONDS
"""Longer than anything may take, so that what takes too long is measured, too."""

DROPPED = 0.2
PAGE = 5_000
POLICY = {
    "tier_vip_seconds": 2,
    "tier_normal_seconds": 4,
    "tier_cold_seconds": 8,
    "confirm_seconds": 1,
    "breaker_share": 0.9,
}

_STARTED = "SELECT payload_json(payload) ->> 'instance' FROM events WHERE kind = 'service_started.v1' AND position > %s"
_LEADS = """
SELECT payload_json(payload) ->> 'instance', recorded_at FROM events
 WHERE kind = 'run_started.v1' AND position > %s AND payload_json(payload) ->> 'instance' <> %s
 ORDER BY position LIMIT 1
"""
_HEAD = "SELECT coalesce(max(position), 0) FROM events"

Connection = psycopg.Connection[tuple[object, ...]]


class Killed(NamedTuple):
    """One kill: seconds from it until the next leading instance wrote its first run."""

    seconds: float
    led_seconds: float


@dataclass
class Record:
    """What the ledger says of all runs and corrections together."""

    runs: dict[str, RunStarted] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    corrections: int = 0
    wrong: list[str] = field(default_factory=list)


def measure(options: Options) -> Report:
    """Two instances on one database behind two nodes; whichever leads is killed, and started again."""
    own, options = amounts(options, kills=str(options.pick(20, 2)), users=str(options.pick(400, 100)), profile="v2.2")
    kills, lot, lead_seconds = int(own["kills"]), random.Random(options.seed), options.pick(6, 3)
    with server(options) as postgres, postgres.database() as url, psycopg.connect(url, autocommit=True) as connection:
        nodes = new_nodes(2)
        services = [
            Reconciling(postgres.folder / name, url, profile_for(own["profile"]), nodes, POLICY) for name in ("a", "b")
        ]
        plan = Plan(
            nodes=tuple(
                replace(node, hook=f"{service.url}/hooks/main/{node.name}/{node.secret}")
                for node, service in zip(nodes, services, strict=True)
            ),
            profile=profile_for(own["profile"]),
            users=int(own["users"]),
            seconds=None,
            rate=50.0,
            faults=frozenset({"drop"}),
            fault_share=DROPPED,
            seed=options.seed,
            start_online=0.5,
        )
        try:
            names = {_begun(service, connection): service for service in services}
            with simulating(plan, nobody_listens):
                killed, leading = _kill_leaders(names, connection, lot, (kills, lead_seconds))
                head = _head(connection)
                wait_until(lambda: _head(connection) > head, WAIT_SECONDS, "nothing is recorded any more")
                wait_until(lambda: _corrections(connection) > 0, WAIT_SECONDS, "nobody is corrected")
            record = _read(url)
        finally:
            for service in services:
                service.stop()
        _no_run_lost(record, leading)
        report = _report(own, options, postgres.describe(), killed, record)
        report.notes += _stopped(_read(url), record)
    return report


def _stopped(after: Record, before: Record) -> list[str]:
    open_before, open_after = (sum(not r.ended[run] for run in r.runs) for r in (before, after))
    return [f"runs under way in the end: {open_before}; once both instances have stopped in order: {open_after}"]


def _begun(service: Reconciling, connection: Connection) -> str:
    """Start an instance -> its name in the ledger."""
    head = _head(connection)
    service.start()
    row = connection.execute(_STARTED, (head,)).fetchone()
    assert row is not None
    return str(row[0])


def _head(connection: Connection) -> int:
    row = connection.execute(_HEAD).fetchone()
    assert row is not None
    return int(str(row[0]))


def _corrections(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM events WHERE kind = 'corrected.v1'").fetchone()
    assert row is not None
    return int(str(row[0]))


def _next_leader(connection: Connection, after: int, but: str) -> tuple[str, datetime]:
    """The instance, another one than `but`, that begins a run after a position, and when. Raises RuntimeError."""
    found: list[tuple[object, ...]] = []

    def leads() -> bool:
        found[:] = connection.execute(_LEADS, (after, but)).fetchall()
        return bool(found)

    wait_until(leads, WAIT_SECONDS, "no instance leads", every=0.05)
    name, at = found[0]
    assert isinstance(at, datetime)
    return str(name), at


def _kill_leaders(
    names: dict[str, Reconciling], connection: Connection, lot: random.Random, number_and_seconds: tuple[int, int]
) -> tuple[list[Killed], str]:
    """Kill whichever leads, so many times, after so many seconds at most -> (what became of each, who leads then)"""
    kills, most_seconds = number_and_seconds
    (leading, _), killed = _next_leader(connection, 0, ""), list[Killed]()
    for count in range(kills):
        led_seconds = lot.uniform(0.0, most_seconds)
        time.sleep(led_seconds)
        service, head, victim = names.pop(leading), _head(connection), leading
        killed_at = time.time()
        service.kill()
        leading, leads_at = _next_leader(connection, head, victim)
        killed.append(Killed(leads_at.timestamp() - killed_at, led_seconds))
        progress(f"kill {count + 1} after {led_seconds:.1f} s: taken over after {killed[-1].seconds:.2f} s")
        names[_begun(service, connection)] = service
    time.sleep(most_seconds)
    return killed, leading


def _events(ledger: Ledger) -> Iterator[tuple[int, str | None, Event]]:
    """(position, user, event) of the whole ledger; None in the place of the user of a source's event."""
    after = 0
    while rows := ledger.events_recorder.ledger_rows(after=after, limit=PAGE):
        for row in rows:
            is_user = row.stream.startswith(USER_PREFIX)
            yield row.position, row.stream.removeprefix(USER_PREFIX) if is_user else None, ledger.event(row)
        after = rows[-1].position


def _read(url: str) -> Record:
    """Read the whole ledger, and hold every run and every correction against what stands before it."""
    ledger, record, corrections = Ledger(url, SEAL_KEY, 1), Record(), Corrections()
    try:
        for position, uid, event in _events(ledger):
            record.wrong += corrections.take(position, uid, event)
            if isinstance(event, RunStarted):
                record.runs[event.run] = event
            elif isinstance(event, RunEnded):
                record.ended[event.run] += 1
                record.outcomes[event.outcome] += 1
    finally:
        ledger.close()
    record.corrections = corrections.number
    return record


def _no_run_lost(record: Record, leading: str) -> None:
    for run, started in record.runs.items():
        if record.ended[run] > 1:
            record.wrong.append(f"run {run} ended {record.ended[run]} times")
        elif not record.ended[run] and started.instance != leading:
            record.wrong.append(f"run {run} ({started.scope}) of {started.instance} has no end")
    record.wrong += [f"run {run} ended and never began" for run in record.ended if run not in record.runs]


def _report(own: dict[str, str], options: Options, described: str, killed: list[Killed], record: Record) -> Report:
    seconds = [each.seconds for each in killed]
    report = Report(
        f"Two instances on one database; whichever leads is killed {len(killed)} times, each time after 0 to "
        f"{options.pick(6, 3)} s, and started again; {own['users']} users of two nodes ({own['profile']}) come and go "
        f"meanwhile, {DROPPED:.0%} of their webhooks lost; tiers of 2, 4 and 8 s; seed {options.seed}",
        described,
        ("kills", "another leads after, median s", "longest s", "runs", "interrupted", "corrections"),
    )
    interrupted = record.outcomes["interrupted"]
    report.rows.append(
        (
            str(len(killed)),
            number(median(seconds)),
            number(max(seconds)),
            str(len(record.runs)),
            str(interrupted),
            f"{record.corrections:,}",
        )
    )
    report.bars += [
        Bar(
            "another instance leads after, longest",
            max(seconds),
            TAKEOVER_SECONDS,
            at_least=False,
            unit="s",
            speed=True,
        ),
        Bar(
            "runs lost; corrections doubled, out of date or without their evidence",
            len(record.wrong),
            0,
            at_least=False,
        ),
        Bar("runs interrupted", interrupted, 1, at_least=True, speed=True),
        Bar("corrections", record.corrections, 1, at_least=True),
    ]
    report.notes += record.wrong[:10]
    return report


if __name__ == "__main__":
    main("leader_kills", "reliability.md", measure)
