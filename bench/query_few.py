"""What does asking about one user by POST cost, against a route that returns a constant? And shorter answers?"""

import json
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench import _client, _service
from bench._crowd import Crowd
from bench._postgres import process_cpu_seconds, server
from bench._report import Bar, Options, Report, main, median, number, progress
from bench._seed import Seeder
from bench._serve import BODY, CONSTANT_PATH

CONNECTIONS = 32
PATH = "/v1/presence/query"
EMPTY = "a constant"
GZIP = "Accept-Encoding: gzip\r\n"


class Question(NamedTuple):
    """What is asked again and again, of how many users, and how many times less than of one."""

    name: str
    users: int
    less: int = 1
    query: str = ""
    headers: str = ""

    def request(self, uids: Sequence[str]) -> bytes:
        """The request about these users."""
        if self.users == 0:
            return _client.get(f"/v1/users/{uids[0]}/presence", _service.KEY)
        request = _client.post(PATH + self.query, json.dumps({"uids": list(uids)}).encode(), _service.KEY)
        return request.replace(b"Host: bench\r\n", f"Host: bench\r\n{self.headers}".encode(), 1)


QUESTIONS = (
    Question("GET of one", 0),
    Question("POST of one", 1),
    Question("POST of 20", 20, 4),
    Question("POST of 1,000", 1000, 100),
    Question("the same, its status alone", 1000, 100, "?fields=status"),
    Question("the same, as gzip", 1000, 100, "", GZIP),
    Question("status alone, as gzip", 1000, 100, "?fields=status", GZIP),
)


def measure(options: Options) -> Report:
    """Rounds of all in turn on one service; the ratio of a round is of neighbours in time."""
    users, requests = options.pick(100_000, 2_000), options.pick(20_000, 100)
    rounds = options.pick(5, 1)
    crowds = [Crowd(node, users // _service.NODES) for node in range(_service.NODES)]
    uids = [uid for crowd in crowds for uid in crowd.uids]
    constant = _client.get(CONSTANT_PATH, _service.KEY)
    choice = random.Random(options.seed)
    rates: dict[str, list[tuple[float, float, float]]] = {name: [] for name in (EMPTY, *(q.name for q in QUESTIONS))}
    with server(options) as postgres, postgres.database() as url:
        Seeder(url, crowds).everybody_online()
        with _service.running(postgres.folder / "service", url, _service.WITH_EXTRAS) as service:
            sizes = {EMPTY: len(BODY)} | {each.name: _client.run(_size(service.port, each, uids)) for each in QUESTIONS}
            named = sum(len(uid) for uid in uids[:1000]) / 1000
            for count in range(rounds + 1):
                before = process_cpu_seconds(service.pid)
                empty = requests / _client.run(_client.drive(service.port, _shared([constant] * requests)))
                if count:
                    rates[EMPTY].append((empty, 1.0, (process_cpu_seconds(service.pid) - before) / requests))
                for each in QUESTIONS:
                    number_of = max(1, requests // each.less)
                    asked = [each.request(choice.sample(uids, max(1, each.users))) for _ in range(number_of)]
                    before = process_cpu_seconds(service.pid)
                    rate = number_of / _client.run(_client.drive(service.port, _shared(asked)))
                    spent = (process_cpu_seconds(service.pid) - before) / number_of
                    progress(f"{each.name}: {rate:,.0f} against {empty:,.0f}/s{'' if count else ' (warming up)'}")
                    if count:
                        rates[each.name].append((rate, rate / empty, spent))
        described = postgres.describe()
    return _report(users, rounds, requests, rates, sizes, named, described)


def _report(
    users: int, rounds: int, requests: int, rates: dict[str, list[tuple[float, float, float]]], sizes: dict[str, int],
    named: float, described: str,
) -> Report:  # fmt: skip
    report = Report(
        f"Questions about random ones of {users:,} users, and a route of the same server that gives a constant under "
        f"the same authentication; {CONNECTIONS} connections, {requests:,} requests a round (fewer of longer ones), "
        f"medians of {rounds} rounds",
        described,
        ("question", "requests/s", "of the constant's", "answer, bytes", "processor of the service, ms"),
    )
    for name, measured in rates.items():
        rate, ratio, spent = (median([each[part] for each in measured]) for part in range(3))
        report.rows.append((name, number(rate), number(ratio), number(sizes[name]), f"{spent * 1000:.2f}"))
    report.bars.append(
        Bar("POST of one, of the constant's", median([ratio for _, ratio, _ in rates["POST of one"]]), 0.35,
            at_least=True, speed=True)
    )  # fmt: skip
    dots = sizes["the same, its status alone"] / 1000 - named
    report.bars.append(
        Bar("a user whose status alone is asked for, beside the uid", dots, 118, at_least=False, unit="bytes")
    )
    return report


async def _size(port: int, question: Question, uids: Sequence[str]) -> int:
    """How long the answer is. Raises RuntimeError where it is an error."""
    connection = await _client.connect(port)
    answer = await connection.exchange(question.request(uids[: max(1, question.users)]))
    if answer.status != 200:
        raise RuntimeError(f"answered {answer.status}: {answer.body[:200]!r}")
    connection.close()
    return len(answer.body)


def _shared(requests: list[bytes]) -> list[Iterator[bytes]]:
    """One iterator for all connections: the one that is free takes the next."""
    each = iter(requests)
    return [each] * CONNECTIONS


if __name__ == "__main__":
    main("query_few", "performance.md", measure)
