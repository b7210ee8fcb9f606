"""How long do the answers to 512-item POSTs take while 5,000 items a second flow?"""

import random
from collections.abc import Sequence

from bench import _client, _service
from bench._crowd import Crowd
from bench._load import in_open_loop
from bench._postgres import server
from bench._report import Bar, Options, Report, main, median, number, percentile

ITEMS_A_SECOND = 5000
BODY_ITEMS = 512


def measure(options: Options) -> Report:
    """An open loop: POSTs leave when they are due, whatever became of those before, and count from when they were due.

    Once at an even pace, which is held to the bar, once at random (exponential) distances of the same mean, where POSTs
    meet each other. Each percentile is taken in every round, and the median of the rounds is what counts.
    """
    seconds, rounds, users = options.pick(75, 1), options.pick(5, 1), options.pick(24_000, 2_000)
    with server(options) as postgres:
        report = Report(
            f"POSTs of {BODY_ITEMS} items, {ITEMS_A_SECOND:,} items/s, {users:,} users known, {seconds} s each; "
            f"milliseconds from the instant a POST was due to its answer, medians of {rounds} rounds",
            postgres.describe(),
            ("arrivals", "POSTs", "median", "p90", "p99", "longest"),
        )
        for arrivals in ("even", "random"):
            with postgres.database() as url, _service.running(postgres.folder / arrivals, url) as service:
                requests, warm_up = _requests(service, seconds, users, options.pick(3, 0))
                postgres.settle()
                took = _client.run(in_open_loop(service.port, requests, _due(len(requests), arrivals, options.seed)))
            took = [1000 * each for each in took[warm_up:]]
            figures = [_over_rounds(took, rounds, share) for share in (0.5, 0.9, 0.99, 1.0)]
            report.rows.append((arrivals, str(len(took)), *(number(figure) for figure in figures)))
            if arrivals == "even":
                bar = Bar("p99, even arrivals", figures[2], 50, at_least=False, unit="ms", speed=True)
                report.bars.append(bar)
    return report


def _over_rounds(took: Sequence[float], rounds: int, share: float) -> float:
    """The median over the rounds of a percentile within each."""
    size = len(took) // rounds
    parts = [took[start : start + size] for start in range(0, size * rounds, size)]
    return median([percentile(part, share) for part in parts])


def _requests(
    service: _service.Service, seconds: int, users: int, warm_up_seconds: int
) -> tuple[list[tuple[int, bytes]], int]:
    """The POSTs with their nodes in turn, and how many of them are for warming up; everybody is made known first."""
    crowds = [Crowd(node, users // _service.NODES) for node in range(_service.NODES)]
    first = [[service.webhook(body, node) for body in c.first_bodies(BODY_ITEMS)] for node, c in enumerate(crowds)]
    _client.run(_client.drive(service.port, [iter(each) for each in first]))
    warm_up = warm_up_seconds * ITEMS_A_SECOND // BODY_ITEMS
    posts = warm_up + seconds * ITEMS_A_SECOND // BODY_ITEMS
    nodes = [number % _service.NODES for number in range(posts)]
    return [(node, service.webhook(crowds[node].body(BODY_ITEMS), node)) for node in nodes], warm_up


def _due(posts: int, arrivals: str, seed: int) -> list[float]:
    """When each POST is due, in seconds from the start."""
    distance = BODY_ITEMS / ITEMS_A_SECOND
    if arrivals == "even":
        return [number * distance for number in range(posts)]
    choice = random.Random(seed)
    due, at = [], 0.0
    for _ in range(posts):
        due.append(at)
        at += choice.expovariate(1 / distance)
    return due


if __name__ == "__main__":
    main("latency", "performance.md", measure)
