"""Does a slice tell elsewhere what the ledger tells: states, stories, explanations, with other names, judged again?"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import psycopg

from bench import _same
from bench._chaos import Chaos, run
from bench._postgres import Server, server
from bench._report import Bar, Options, Report, main, number, progress
from bench._service import SEAL_KEY
from bench._simulated import Reconciling, amounts, profile_for
from ledger.replay.replayed import Replayed
from ledger.replay.slice import Trial, replay_slice
from ledger.slices import writing
from ledger.slices.importing import import_slice
from ledger.slices.pseudonymising import pseudonymised
from ledger.slices.pseudonyms import Pseudonyms
from ledger.slices.reading import SliceFile
from ledger.slices.taking import SliceScope, open_slice
from ledger.store.ledger import Ledger
from ledger.store.mapper import EventMapper

MAPPER = EventMapper()

CHOSEN_USERS = 20


class Exported(NamedTuple):
    """A slice in its file, and who is who in it where its users have other names."""

    what: str
    path: Path
    events: int
    names: Pseudonyms | None = None
    tables: tuple[str, ...] = tuple(_same.TABLES)
    """What of it can be compared: of a part, the states alone."""


class Speeds:
    """Lines a second, by what was done with them."""

    def __init__(self) -> None:
        self._lines: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, what: str, lines: int, seconds: float) -> None:
        """So many lines took so long."""
        self._lines[what] += lines
        self._seconds[what] += seconds

    def __str__(self) -> str:
        told = (f"{what} {number(lines / self._seconds[what])}" for what, lines in self._lines.items())
        return f"lines a second: {', '.join(told)}"


def measure(options: Options) -> Report:
    """A chaos run of each profile: `--set users= seconds= profile=v2.2,v3 explanations=`."""
    given, options = amounts(
        options,
        users="100" if options.short else "1000",
        seconds="8" if options.short else "90",
        profile="v2.2" if options.short else "v2.2,v2.1,v3",
        explanations="40" if options.short else "1000",
    )
    users, seconds, random = int(given["users"]), float(given["seconds"]), Random(options.seed)
    report = Report(
        f"Slices of chaos runs: {users:,} users on two nodes, {seconds:g} s, every fault, nodes killed and stopped, "
        f"the service killed once. Seed {options.seed}",
        "",
        (
            "slice",
            "events",
            "verdicts reproduced",
            "not repeatable",
            "other",
            "rows compared",
            "other",
            "explanations",
            "other",
        ),
    )
    speeds = Speeds()
    with server(options) as postgres:
        for profile in given["profile"].split(","):
            chaos = Chaos(
                profile=profile_for(profile),
                nodes=2,
                users=users,
                seconds=seconds,
                rate=max(2.0, users / 50),
                start_online=0.5,
                restarts=max(1, round(seconds / 20)),
                kills=1,
                scale=100,
                hold_seconds=5,
                seed=random.randrange(2**31),
                patience=float(options.pick(1, 5)),
            )
            with postgres.database() as url:
                progress(f"{profile}: chaos for {seconds:g} s")
                folder = postgres.folder / f"service-{profile}"
                run(chaos, Reconciling(folder, url, chaos.profile, chaos.nodes, chaos.policy), url)
                _slices(report, postgres, url, profile, int(given["explanations"]), random, speeds)
                _from_any_instant(report, postgres.folder, url, profile, options.pick(50, 8), speeds)
        report.server = postgres.describe()
    return _judged(report, speeds)


def _slices(
    report: Report, postgres: Server, url: str, profile: str, number_of: int, random: Random, speeds: Speeds
) -> None:
    """Export one ledger in several ways, judge each slice again, import it and hold both against each other."""
    _same.project(url)
    for exported in _exports(url, postgres.folder, profile, speeds):
        progress(f"{profile}: {exported.what}, {exported.events:,} events")
        replayed = _replayed(exported, speeds)
        with postgres.database() as other_url:
            _import(other_url, exported, speeds)
            _same.project(other_url)
            compared = _same.tables(url, other_url, exported.names, exported.tables)
            explained = _same.Compared(0, 0)
            if len(exported.tables) == len(_same.TABLES):
                explained = _same.explanations(url, other_url, exported.names, number_of, random)
        for each in (*compared.values(), explained):
            if each.first:
                progress(each.first)
        report.rows.append(
            (
                f"{profile}, {exported.what}",
                f"{exported.events:,}",
                f"{replayed.repeated:,}",
                str(replayed.not_repeatable.total()),
                str(replayed.differing),
                f"{sum(each.things for each in compared.values()):,}",
                str(sum(each.others for each in compared.values())),
                f"{explained.things:,}",
                str(explained.others),
            )
        )


def _from_any_instant(report: Report, folder: Path, url: str, profile: str, number_of: int, speeds: Speeds) -> None:
    """Judge again from each of so many instants on, wherever they lie between looks, deliveries and boots."""
    with psycopg.connect(url, autocommit=True) as connection:
        commits = [at for (at,) in connection.execute("SELECT DISTINCT recorded_at FROM events ORDER BY recorded_at")]
    instants = commits[1 :: max(1, len(commits) // number_of)]
    what = f"from each of {len(instants)} instants on, with the states before"
    progress(f"{profile}: {what}")
    events = repeated = not_repeatable = differing = 0
    for place, since in enumerate(instants):
        path = folder / f"{profile}-from-{place}.ndjson"
        exported = _export(url, path, Exported(what, folder, 0), SliceScope(None, since), speeds)
        replayed = _replayed(exported, speeds)
        path.unlink()
        events += exported.events
        repeated += replayed.repeated
        not_repeatable += replayed.not_repeatable.total()
        differing += replayed.differing
    judged = (f"{events:,}", f"{repeated:,}", str(not_repeatable), str(differing))
    report.rows.append((f"{profile}, {what}", *judged, "0", "0", "0", "0"))


def _exports(url: str, folder: Path, profile: str, speeds: Speeds) -> Iterator[Exported]:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT min(recorded_at) + (max(recorded_at) - min(recorded_at)) / 2 FROM events"
        ).fetchone()
        assert row is not None
        chosen = connection.execute(
            "SELECT uid FROM current ORDER BY version DESC LIMIT %s", (CHOSEN_USERS,)
        ).fetchall()
    names = Pseudonyms("the key of the benches' pseudonyms")
    yield _export(url, folder / f"{profile}.ndjson", Exported("everything", folder, 0), SliceScope(), speeds)
    yield _export(
        url, folder / f"{profile}-p.ndjson.gz", Exported("pseudonymised", folder, 0, names), SliceScope(), speeds
    )
    states = Exported("the second half, with the states before", folder, 0, None, ("current",))
    yield _export(url, folder / f"{profile}-2.ndjson", states, SliceScope(None, row[0]), speeds)
    users = tuple(uid for (uid,) in chosen)
    some = Exported(f"{CHOSEN_USERS} users", folder, 0, None, ())
    yield _export(url, folder / f"{profile}-u.ndjson", some, SliceScope(users), speeds)


def _export(url: str, path: Path, exported: Exported, wanted: SliceScope, speeds: Speeds) -> Exported:
    began = time.perf_counter()
    with (
        writing.opened(path, force=False) as stream,
        psycopg.connect(url, autocommit=True) as connection,
        open_slice(connection, MAPPER, wanted, lambda *_: None) as found,
    ):
        renamed = found if exported.names is None else pseudonymised(found, exported.names, MAPPER)
        written = writing.write(renamed, stream)
    how = "exported" if exported.names is None else "exported under other names, packed"
    speeds.add(how, written.events + written.states, time.perf_counter() - began)
    return exported._replace(path=path, events=written.events)


def _replayed(exported: Exported, speeds: Speeds) -> Replayed:
    began = time.perf_counter()
    replayed = replay_slice(SliceFile(exported.path).slice(), MAPPER, Trial(lambda policy: policy))
    speeds.add("judged again", replayed.events, time.perf_counter() - began)
    return replayed


def _import(url: str, exported: Exported, speeds: Speeds) -> None:
    ledger = Ledger(url, SEAL_KEY)
    try:
        began = time.perf_counter()
        imported = import_slice(ledger, SliceFile(exported.path), {}, lambda *_: None)
        speeds.add("imported", imported.events + imported.states, time.perf_counter() - began)
    finally:
        ledger.close()


def _judged(report: Report, speeds: Speeds) -> Report:
    def total(column: int, among: str = "") -> int:
        return sum(int(row[column].replace(",", "")) for row in report.rows if among in row[0])

    report.bars += [
        Bar("verdicts that came out otherwise", total(4), 0, at_least=False),
        Bar("verdicts of whole ledgers that could not be judged again", total(3, "everything"), 0, at_least=False),
        Bar("rows that are not the same", total(6), 0, at_least=False),
        Bar("explanations that are not the same", total(8), 0, at_least=False),
        Bar("verdicts judged again", total(2), 100, at_least=True),
        Bar("explanations compared", total(7), 1, at_least=True),
    ]
    report.notes.append(str(speeds))
    return report


if __name__ == "__main__":
    main("slices", "reliability.md", measure)
