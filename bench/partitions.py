"""Does an item cost more in a ledger of ten million events over 30 partitions than in a young one of one partition?"""

from time import perf_counter

import psycopg

from bench._postgres import server
from bench._report import Bar, Options, Report, main, median, number, progress
from bench.scale import BODY_ITEMS, Cost, load, seeded
from tests.support.divided import divide

PARTITIONS = 30

QUESTIONS: tuple[tuple[str, str], ...] = (
    ("a user's last event", "SELECT position FROM events WHERE stream = %(stream)s ORDER BY version DESC LIMIT 1"),
    ("a user's first 100 events", "SELECT payload FROM events WHERE stream = %(stream)s ORDER BY version LIMIT 100"),
    ("100 events by position", "SELECT payload FROM events WHERE position > %(position)s ORDER BY position LIMIT 100"),
    ("the position of an instant", "SELECT position_at(now() - interval '1 minute')"),
)
COSTS = ("an item", "of processor, service", "of processor, PostgreSQL")

_SOME = "SELECT 'user:' || uid FROM current ORDER BY md5(uid) LIMIT %s"
_IN_USE = "SELECT count(DISTINCT tableoid) FROM events"


def measure(options: Options) -> Report:
    """Both ledgers made by the product's own rules and COPY; then the same load on each in turn, then questions.

    `--set events= small=` for other sizes.
    """
    settings = dict(options.settings)
    sizes = (
        int(settings.pop("small", options.pick(100_000, 1_000))),
        int(settings.pop("events", options.pick(10_000_000, 3_000))),
    )
    options = Options(options.short, options.database_url, options.profile, options.seed, settings)
    items, rounds, users = options.pick(100_000, 8_192), options.pick(5, 1), options.pick(20_000, 400)
    warm_up, asked = options.pick(1, 0), options.pick(200, 3)
    with server(options) as postgres, postgres.database() as young, postgres.database() as old:
        divide(old, -(-sizes[1] // PARTITIONS), PARTITIONS + 1)
        urls, costs = (young, old), tuple[list[Cost], list[Cost]](([], []))
        crowds = [seeded(url, size, users) for url, size in zip(urls, sizes, strict=True)]
        for round_number in range(rounds + warm_up):
            for which, url in enumerate(urls):
                folder = f"service-{round_number}-{which}"
                costs[which].append(load(postgres, folder, url, crowds[which], items))
                progress(f"{sizes[which]:,} events: {costs[which][-1].clock:.1f} microseconds an item")
        answers = [_ask(url, asked) for url in urls]
        in_use = [_in_use(url) for url in urls]
        report = Report(
            f"{items:,} items a round in bodies of {BODY_ITEMS}, {users:,} users who come and go, into ledgers of "
            f"{sizes[0]:,} events and of {sizes[1]:,} in turn, medians of {rounds} rounds after {warm_up} to warm up; "
            f"then questions to PostgreSQL, medians of {asked}",
            postgres.describe(),
            ("microseconds", *(f"partitions in use: {each}" for each in in_use), "times"),
        )
    one, many = ([median(column) for column in zip(*each[warm_up:], strict=True)] for each in costs)
    names = [*COSTS, *(name for name, _ in QUESTIONS)]
    for name, before, now in zip(names, [*one, *answers[0]], [*many, *answers[1]], strict=True):
        report.rows.append((name, number(before), number(now), f"{now / before:.2f}" if before else ""))
    pairs = zip(costs[0][warm_up:], costs[1][warm_up:], strict=True)
    ratio = median([now.clock / before.clock for before, now in pairs])
    report.bars.append(Bar("an item in the divided ledger, as a multiple", ratio, 1.2, at_least=False, speed=True))
    report.bars.append(Bar("partitions in use there", in_use[1], PARTITIONS, at_least=True))
    return report


def _ask(url: str, times: int) -> list[float]:
    """Microseconds of each question, about users at random, in a session that has asked before."""
    with psycopg.connect(url, autocommit=True) as connection:
        streams = [stream for (stream,) in connection.execute(_SOME, (times,))]
        row = connection.execute("SELECT max(position) FROM events").fetchone()
        assert row is not None
        found = []
        for _, question in QUESTIONS:
            spent = []
            for number_, stream in enumerate(streams * 2):
                asked = {"stream": stream, "position": row[0] * number_ // (2 * times)}
                began = perf_counter()
                connection.execute(question.encode(), asked).fetchall()
                spent.append(perf_counter() - began)
            found.append(median(spent[times:]) * 1_000_000)
    return found


def _in_use(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(_IN_USE).fetchone()
    assert row is not None
    return int(row[0])


if __name__ == "__main__":
    main("partitions", "performance.md", measure)
