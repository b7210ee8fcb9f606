"""Do WuKongIM's clients show what GET answers, told by commands through nodes of each version?"""

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import psycopg

from bench._postgres import server
from bench._report import Bar, Options, Report, main, progress
from bench._simulated import SOURCE, Reconciling
from bench._told import reach
from bench._watching import running, shown, simulating, wait_until
from ledger.simulator.commands import SentCommand
from ledger.simulator.plan import Plan, Profile
from ledger.sinks.kinds.wukongim import AT_ONCE
from ledger.working_state import watch_list_changes
from tests.support.wukongim_clients import Android, Ios, Reader, Web

PROFILES: tuple[Profile, ...] = ("v1", "v2.1", "v2.2", "v3")
LISTS = 8
WATCHERS = 12
SENDS_A_SECOND = 50
"""The default of the setting."""
SETTLE_SECONDS = 120.0
TOKEN = "bench-manager-token"  # noqa: S105

SINK = """
[[sinks]]
name = "dots"
kind = "wukongim"
coalesce_seconds = 0.5
"""


class Found(NamedTuple):
    """What a run came to."""

    flips: int
    commands: int
    told: int
    """Users who were sent a command, each counted as often."""
    most: int
    """Commands in any second."""
    differ: int
    """Readers' dots that are not what is answered."""
    backwards: int
    too_late: int
    """Recipients who were not connected."""


def measure(options: Options) -> Report:
    """Users come and go; watchers stay, each with Android, iOS and web. `--set users= seconds= rate=`."""
    amounts = {
        "users": options.pick(400, 40),
        "seconds": options.pick(60, 3),
        "rate": options.pick(100, 25),
    } | {name: int(value) for name, value in options.settings.items()}
    with server(replace(options, settings={})) as postgres:
        found = {}
        for profile in PROFILES[-1:] if options.short else PROFILES:
            with postgres.database() as url:
                service = Reconciling(postgres.folder / profile.replace(".", "_"), url, profile, 1, {}, TOKEN, SINK)
                # A start takes seconds, of which a short form has few.
                kill = not options.short or profile == PROFILES[-1]
                found[profile] = _run(service, url, profile, amounts, options.seed, kill=kill)
                progress(f"{profile}: {found[profile]}")
        described = postgres.describe()
    report = Report(
        f"{amounts['users']} users, {amounts['rate']} changes a second for {amounts['seconds']} s and a kill -9 of the "
        f"service; {LISTS} lists, {WATCHERS} watchers with Android, iOS and web; seed {options.seed}",
        described,
        ("nodes of", "changes", "commands", "recipients", "most a second", "dots not as GET says"),
    )
    for profile, each in found.items():
        report.rows.append((
            profile, f"{each.flips:,}", f"{each.commands:,}", f"{each.told:,}", str(each.most), str(each.differ)
        ))  # fmt: skip
    runs = found.values()
    report.bars.append(Bar("dots that are not what GET answers", sum(each.differ for each in runs), 0, at_least=False))
    report.bars.append(Bar("dots that went back", sum(each.backwards for each in runs), 0, at_least=False))
    fewest = min(each.commands for each in runs)
    report.bars.append(Bar("commands, the fewest of any version", fewest, 1, at_least=True))
    # Those that are on their way at the same time may arrive together.
    most = max(each.most for each in runs)
    report.bars.append(Bar("commands in any second", most, SENDS_A_SECOND + AT_ONCE, at_least=False, speed=True))
    report.notes.append(f"recipients without a connection: {sum(each.too_late for each in runs):,}")
    return report


def _run(service: Reconciling, url: str, profile: Profile, amounts: dict[str, int], seed: int, *, kill: bool) -> Found:
    choice = random.Random(seed)
    watchers = [f"watcher-{place}" for place in range(WATCHERS)]
    plan = Plan(
        target=service.url, source=SOURCE, nodes=service.nodes, profile=profile, users=amounts["users"], seconds=None,
        rate=amounts["rate"], seed=seed, token=TOKEN, start_online=0.3,
    )  # fmt: skip
    with running(service), simulating(plan) as simulation:
        simulation.bring(watchers)
        people = [person.uid for person in simulation.world.population.people]
        with psycopg.connect(url, autocommit=True) as connection:
            watched: dict[str, set[str]] = {uid: set() for uid in watchers}
            for place in range(LISTS):
                members = choice.sample(people, len(people) // 4)
                who = choice.sample(watchers, WATCHERS // 3)
                watch_list_changes.put(connection, f"list-{place}", members, who, "bench")
                for uid in who:
                    watched[uid].update(members)
        everybody = sorted(set().union(*watched.values()))
        wait_until(
            lambda: set(shown(service, watchers).values()) == {"online"}, SETTLE_SECONDS, "watchers are not online"
        )
        # From here on they are told; before that, each app asks.
        reach(url, "dots", SETTLE_SECONDS)
        began = len(simulation.commands.taken)
        asked = shown(service, everybody)
        readers = {uid: _clients(uid, asked, watched[uid]) for uid in watchers}
        time.sleep(amounts["seconds"] / 2)
        if kill:
            service.kill()
            service.start()
        time.sleep(amounts["seconds"] / 2)
        simulation.calm(traffic=False)
        answered = _settled(service, url, everybody)
        commands = simulation.commands.taken[began:]
        actions = simulation.world.totals.actions
    told, backwards = _tell(commands, readers)
    differ = sum(
        reader.online.get(uid) != (answered[uid] == "online")
        for watcher, each in readers.items()
        for reader in each
        for uid in watched[watcher]
        if answered[uid] != "unknown"
    )
    return Found(
        actions, len(commands), told, _most_a_second(commands), differ, backwards,
        sum(len(set(each.body["subscribers"]) - {uid for uid, _ in each.received}) for each in commands),
    )  # fmt: skip


def _clients(uid: str, asked: dict[str, str], watched: set[str]) -> tuple[Reader, ...]:
    """A watcher's three clients, which have asked when they came online."""
    clients: tuple[Reader, ...] = (Android(uid), Ios(uid), Web(uid))
    for client in clients:
        client.online.update({each: asked[each] == "online" for each in watched})
    return clients


def _settled(service: Reconciling, url: str, uids: Sequence[str]) -> dict[str, str]:
    """What is answered of users once nobody comes or goes and everything has been told."""
    deadline, before = time.monotonic() + SETTLE_SECONDS, dict[str, str]()
    while time.monotonic() < deadline:
        reach(url, "dots", SETTLE_SECONDS)
        now = shown(service, uids)
        if now == before:
            return now
        before = now
        time.sleep(0.5)
    return before


def _tell(commands: Sequence[SentCommand], readers: dict[str, tuple[Reader, ...]]) -> tuple[int, int]:
    """Let each client read what its user received -> (recipients, dots that went back)."""
    told = backwards = 0
    last: dict[tuple[str, str], tuple[int, str]] = {}
    for command in commands:
        param = command.payload["param"]
        at = param["position"], param["at"]
        for watcher in {uid for uid, _ in command.received}:
            told += 1
            for client in readers.get(watcher, ()):
                client.read(command.payload)
            backwards += last.get((watcher, param["uid"]), (0, "")) > at
            last[watcher, param["uid"]] = at
    return told, backwards


def _most_a_second(commands: Sequence[SentCommand]) -> int:
    instants = [each.t for each in commands]
    most = first = 0
    for place, at in enumerate(instants):
        while at - instants[first] >= 1.0:
            first += 1
        most = max(most, place - first + 1)
    return most


if __name__ == "__main__":
    main("wukongim_sink", "reliability.md", measure)
