"""How soon is every stream told of a change, is nothing missing, and do webhooks notice the streams?"""

import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench import _client, _service
from bench._crowd import as_body
from bench._flips import Flips, answers, differing, flips_after, head
from bench._load import in_open_loop
from bench._postgres import server
from bench._readers import Orders, Readers, Told
from bench._report import Bar, Options, Report, main, number, percentile, progress

BODY_ITEMS = 100
NAMED = 100
EVERYBODY = 5
WINDOW_SECONDS = 10
TELL_SECONDS = 40.0
"""More than two heartbeats, with which a stream's cursor comes of whose users nothing is told."""


def measure(options: Options) -> Report:
    """The same load without streams, with streams that are told of it, and with as many idle ones.

    `--set rate= streams= idle= seconds= users=`.
    """
    amounts = {
        "rate": options.pick(5_000, 400),
        "streams": options.pick(1_000, 8),
        "idle": options.pick(10_000, 10),
        "seconds": options.pick(60, 1),
        "users": options.pick(24_000, 1_600),
    } | {name: int(value) for name, value in options.settings.items()}
    rate, streams, seconds = amounts["rate"], amounts["streams"], amounts["seconds"]
    with (
        server(replace(options, settings={})) as postgres,
        postgres.database() as url,
        _service.running_with_front(postgres.folder / "streams", url) as service,
    ):
        bench = _Bench(service, url, postgres.folder, options, amounts)
        bench.load(2 if not options.short else 0)
        alone = bench.load(seconds)
        told, beside, late = bench.told()
        differ = differing(told.last, dict(answers(service.port, bench.flips.uids)))
        # A ledger grows: what there is without streams is measured before and after.
        alone += bench.load(seconds)
        kib, beside_idle = bench.idle()
        latencies, missing = bench.latencies(told)
        described = postgres.describe()
    report = Report(
        f"{rate:,} items/s in bodies of {BODY_ITEMS}, {amounts['users']:,} users; {streams:,} streams of {NAMED} users "
        f"and {EVERYBODY} of everybody, {seconds} s; milliseconds",
        described,
        ("", "median", "p99", "longest"),
    )
    for what, took in (
        ("recorded to the last stream told", latencies),
        ("webhooks without streams", alone),
        ("webhooks alongside the streams", beside),
        (f"webhooks alongside {amounts['idle']:,} idle streams", beside_idle),
    ):
        figures = [1000 * percentile(took, share) for share in (0.5, 0.99, 1.0)]
        report.rows.append((what, *map(number, figures)))
    p99 = 1000 * percentile(latencies, 0.99)
    report.bars.append(Bar("told, p99 (goal 100 ms)", p99, 250, at_least=False, unit="ms", speed=True))
    for name, took in (("streams", beside), ("idle streams", beside_idle)):
        ratio = typical_p99(took, rate) / typical_p99(alone, rate)
        what = f"webhooks' p99 (median of windows of {WINDOW_SECONDS} s) alongside {name}, of that without"
        report.bars.append(Bar(what, ratio, 1.2, at_least=False, speed=True))
    report.bars.append(Bar("an idle stream", kib, 60, at_least=False, unit="KiB", speed=True))
    report.bars.append(Bar("changes that a stream was not told of", missing, 0, at_least=False))
    report.bars.append(Bar("streams not told up to the end", late, 0, at_least=False))
    report.bars.append(Bar("presences told that go back", told.backwards, 0, at_least=False))
    report.bars.append(Bar("last presences told that are not what is answered", differ, 0, at_least=False))
    report.bars.append(Bar("streams that ended", told.connections - streams - EVERYBODY, 0, at_least=False))
    report.notes.append(f"{len(told.arrivals):,} presences told of {len(latencies):,} changes")
    return report


def typical_p99(took: Sequence[float], rate: int) -> float:
    """The median of the windows' p99s: one checkpoint, or another machine's minute, decides nothing."""
    posts = max(1, min(len(took), WINDOW_SECONDS * rate // BODY_ITEMS))
    windows = [took[start : start + posts] for start in range(0, len(took) - posts + 1, posts)]
    return median(percentile(window, 0.99) for window in windows)


class _Bench:
    """The load and its readers."""

    def __init__(
        self, service: _service.Service, url: str, folder: Path, options: Options, amounts: dict[str, int]
    ) -> None:
        self._service = service
        self._url = url
        self._folder = folder
        self._amounts = amounts
        self.flips = Flips(amounts["users"], options.seed)
        self._random = random.Random(options.seed)
        self._watched: list[list[str] | None] = [
            self._random.sample(self.flips.uids, NAMED) for _ in range(amounts["streams"])
        ]
        self._watched += [None] * EVERYBODY
        self._began = self._ended = 0
        first = [self.flips.first(node) for node in range(_service.NODES)]
        requests = [service.webhook(as_body(items), node) for node, items in enumerate(first)]
        _client.run(_client.drive(service.port, [iter([each]) for each in requests]))

    def load(self, seconds: int) -> list[float]:
        """Bodies at an even pace -> how long each took, from when it was due."""
        posts = max(_service.NODES, seconds * self._amounts["rate"] // BODY_ITEMS)
        requests = []
        for each in range(posts):
            node = each % _service.NODES
            requests.append((node, self._service.webhook(as_body(self.flips.items(node, BODY_ITEMS)), node)))
        due = [each * BODY_ITEMS / self._amounts["rate"] for each in range(posts)]
        return _client.run(in_open_loop(self._service.port, requests, due))

    def told(self) -> tuple[Told, list[float], int]:
        """The load alongside streams -> what they were told, how long webhooks took, how many streams came too late."""
        readers = self._readers(self._watched, keep=True)
        try:
            readers.start()
            self._began = head(self._url)
            took = self.load(self._amounts["seconds"])
            self._ended = head(self._url)
            late = readers.reach(self._ended, TELL_SECONDS)
            return readers.end(), took, late
        finally:
            readers.close()

    def idle(self) -> tuple[float, list[float]]:
        """-> (KiB of the front for each of many streams of whose users nothing is told, how long webhooks took)"""
        front = self._service.child("ledger.front.process")
        assert front is not None
        progress(f"idle streams: the front has {front.memory_info().rss // 2**20} MiB before")
        before = front.memory_info().rss
        idle = self._amounts["idle"]
        readers = self._readers([[f"idle-{number}"] for number in range(idle)], keep=False)
        try:
            readers.start()
            after = front.memory_info().rss
            return max(0, after - before) / 1024 / idle, self.load(self._amounts["seconds"])
        finally:
            readers.close()

    def latencies(self, told: Told) -> tuple[list[float], int]:
        """From each change's record to the last stream that was told of it, and how many streams never were."""
        arrived: defaultdict[tuple[int, str], tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
        for reader, name, position, at in told.arrivals:
            positions, instants = arrived[reader, name.decode()]
            positions.append(position)
            instants.append(at)
        watching: defaultdict[str, list[int]] = defaultdict(list)
        for reader, uids in enumerate(self._watched):
            for uid in self.flips.uids if uids is None else uids:
                watching[uid].append(reader)
        latencies, missing = [], 0
        for uid, position, recorded_at in flips_after(self._url, self._began):
            if position > self._ended:
                break
            last = recorded_at
            for reader in watching[uid]:
                positions, instants = arrived[reader, uid]
                place = bisect_left(positions, position)
                missing += place == len(positions)
                last = max(last, instants[place]) if place < len(positions) else last
            latencies.append(last - recorded_at)
        return latencies, missing

    def _readers(self, watched: Sequence[list[str] | None], *, keep: bool) -> Readers:
        into = str(self._folder / "told")
        return Readers(Orders(self._service.front_port, _service.KEY, list(watched), keep, into))


if __name__ == "__main__":
    main("streams", "performance.md", measure)
