"""A reconnect storm: how long do 200,000 items in one POST take, and how much memory?"""

import re
import time
from pathlib import Path
from typing import NamedTuple

import psycopg

from bench import _client, _service
from bench._crowd import Crowd
from bench._postgres import server
from bench._report import Bar, Options, Report, main, median, number, progress

ITEMS, SHORT_ITEMS = 200_000, 12_000
"""Of a short form still more than the service commits at once."""
MIB = 1_048_576

_ONCE = """
SELECT count(*)
  FROM (SELECT FROM ledger_events WHERE kind = 'webhook_observed.v2' AND payload ->> 'node' = 'n1'
         GROUP BY payload ->> 'raw' HAVING count(*) = 1) AS once
"""
_ONLINE = "SELECT count(*) FROM current WHERE status = 'online' AND devices LIKE '%/n1%'"


class Storm(NamedTuple):
    """One POST: seconds to its answer, and MiB over idle at the peak."""

    seconds: float
    memory: float


def measure(options: Options) -> Report:
    """Each round is a service and a ledger of its own: a storm of users never seen, then one of the same users."""
    rounds, users = options.pick(3, 1), options.pick(ITEMS, SHORT_ITEMS)
    kinds: dict[str, list[Storm]] = {"new": [], "known": []}
    taken: list[tuple[int, int]] = []
    # On a busy machine it takes longer than a sender waits.
    patience = {"PRESENCE_LEDGER_STORE_WAIT_SECONDS": "60"} if options.short else {}
    with server(options) as postgres:
        for round_number in range(rounds):
            with postgres.database() as url:
                with _service.running(
                    postgres.folder / f"service-{round_number}", url, _service.PRODUCT, **patience
                ) as service:
                    crowd = Crowd(0, users, round_number)
                    idle = _warm_up(service, options.pick(20, 2))
                    for kind, storms in kinds.items():
                        storm = _storm(service, crowd.first_body(), idle)
                        storms.append(storm)
                        progress(f"{kind} users: {storm.seconds:.1f} s, {storm.memory:.0f} MiB over {idle / MIB:.0f}")
                taken.append(_taken(url))
        report = Report(
            f"{users:,} items in one POST, to users never seen and then to the same again; "
            f"memory is the peak of the service's resident set over that of an idle one; medians of {rounds} rounds, "
            "the worst in brackets",
            postgres.describe(),
            ("users", "seconds to 200", "items/s", "memory over idle, MiB"),
        )
    for kind, storms in kinds.items():
        seconds, memory = [storm.seconds for storm in storms], [storm.memory for storm in storms]
        report.rows.append((kind, _with_worst(seconds), number(users / median(seconds)), _with_worst(memory)))
        report.bars.append(Bar(f"{kind} users, longest", max(seconds), 10, at_least=False, unit="s", speed=True))
        report.bars.append(Bar(f"{kind} users, most memory", max(memory), 400, at_least=False, unit="MiB"))
    items, online = (min(each) for each in zip(*taken, strict=True))
    report.bars.append(Bar("items of both storms in the ledger, each once", items, 2 * users, at_least=True))
    report.bars.append(Bar("users of the storm online", online, users, at_least=True))
    return report


def _taken(url: str) -> tuple[int, int]:
    """-> (items of the storms' node that are in the ledger exactly once, its users who are online)"""
    with psycopg.connect(url) as connection:
        items = connection.execute(_ONCE).fetchone()
        online = connection.execute(_ONLINE).fetchone()
    assert items is not None
    assert online is not None
    return items[0], online[0]


def _with_worst(values: list[float]) -> str:
    return f"{number(median(values))} ({number(max(values))})"


def _warm_up(service: _service.Service, posts: int) -> int:
    """Some ordinary traffic, of another node, so that every part is there; gives the resident bytes after it."""
    crowd = Crowd(1, 1000)
    requests = [service.webhook(crowd.body(512), 1) for _ in range(posts)]
    _client.run(_client.drive(service.port, [iter(requests)]))
    return _memory(service.pid, "VmRSS")


def _storm(service: _service.Service, body: bytes, idle: int) -> Storm:
    # Makes the kernel forget the peak so far.
    Path(f"/proc/{service.pid}/clear_refs").write_text("5", encoding="ascii")
    started = time.perf_counter()
    _client.run(_client.drive(service.port, [iter([service.webhook(body)])]))
    return Storm(time.perf_counter() - started, (_memory(service.pid, "VmHWM") - idle) / MIB)


def _memory(pid: int, name: str) -> int:
    """Bytes, as the kernel keeps them: VmRSS now, VmHWM at the peak."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"the kernel does not tell {name}")
    return int(found[1]) * 1024


if __name__ == "__main__":
    main("storm", "performance.md", measure)
