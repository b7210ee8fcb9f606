"""What is watched of a service that reconciles and of a simulation: memory, questions asked, answers shown, runs."""

import asyncio
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import msgspec

from bench import _client, _service
from ledger.simulator.answers import ONLINE_STATUS
from ledger.simulator.events import SimulatedEvent
from ledger.simulator.node_answers import NodeAnswers, Question, TimedReply
from ledger.simulator.plan import Plan
from ledger.simulator.runtime import Simulation

MIB = 1_048_576
QUERY_USERS = 10_000
BEGIN_SECONDS = 60.0

_OPEN_RUNS = """
SELECT count(*)
  FROM events AS s
 WHERE s.kind = 'run_started.v1' AND payload_json(s.payload) ->> 'scope' = ANY(%s)
   AND NOT EXISTS (SELECT FROM events AS e
                    WHERE e.kind = 'run_ended.v1'
                      AND payload_json(e.payload) ->> 'run' = payload_json(s.payload) ->> 'run')
"""


@contextmanager
def running(service: _service.Service) -> Iterator[None]:
    """Started, and stopped at the end."""
    service.start()
    try:
        yield
        service.check()
    finally:
        service.stop()


def forget_peak(service: _service.Service) -> int:
    """Make the kernel forget the process's peak of memory -> its resident bytes now."""
    Path(f"/proc/{service.pid}/clear_refs").write_text("5", encoding="ascii")
    return memory(service.pid, "VmRSS")


def memory(pid: int, name: str) -> int:
    """Bytes, as the kernel keeps them: VmRSS now, VmHWM at the peak."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"the kernel does not tell {name}")
    return int(found[1]) * 1024


class Asked(NamedTuple):
    """One question to a query API: when, by the monotonic clock, and about how many users."""

    at: float
    route: str
    users: int


class Questions:
    """All questions that the simulated query APIs were asked, counted where they arrive."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count from now on."""
        ask = NodeAnswers.ask

        def counting(node_answers: NodeAnswers, node: str, question: Question, t: float) -> TimedReply:
            users = len(json.loads(question.body)) if question.route == ONLINE_STATUS else 0
            self.asked.append(Asked(time.monotonic(), question.route, users))
            return ask(node_answers, node, question, t)

        with patch.object(NodeAnswers, "ask", counting):
            yield

    def between(self, since: float, until: float) -> list[Asked]:
        """Those of a span of the monotonic clock."""
        return [each for each in self.asked if since <= each.at < until]


def most_a_second(asked: Sequence[Asked]) -> tuple[int, int]:
    """-> (most calls, most users) within any one second; where both are 0 nothing was asked."""
    most_calls = most_users = first = users = 0
    for last, each in enumerate(asked):
        users += each.users
        while each.at - asked[first].at >= 1.0:
            users -= asked[first].users
            first += 1
        most_calls, most_users = max(most_calls, last - first + 1), max(most_users, users)
    return most_calls, most_users


def by_route(asked: Sequence[Asked]) -> str:
    """How often each route was asked, for a note."""
    return ", ".join(f"{count:,} {route}" for route, count in sorted(Counter(each.route for each in asked).items()))


@contextmanager
def simulating(plan: Plan, on_event: Callable[[SimulatedEvent], None] | None = None) -> Iterator[Simulation]:
    """A simulation at work in a thread of its own, stopped at the end; what it raised is raised here."""
    simulation = Simulation(plan, on_event)
    raised: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(simulation.run())
        except BaseException as error:  # noqa: BLE001  (raised again where the simulation is left)
            raised.append(error)

    thread = threading.Thread(target=work, name="simulation")
    thread.start()
    try:
        wait_until(lambda: simulation.elapsed > 0 or bool(raised), BEGIN_SECONDS, "the simulation has not begun")
        yield simulation
    finally:
        simulation.stop()
        thread.join()
    if raised:
        raise raised[0]


def wait_until(condition: Callable[[], bool], seconds: float, otherwise: str, every: float = 0.05) -> None:
    """Ask until the answer is true. Raises RuntimeError, saying `otherwise`, after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{otherwise} after {seconds:g} s")
        time.sleep(every)


class _Item(msgspec.Struct):
    uid: str
    status: str


class _Items(msgspec.Struct):
    items: list[_Item]


def shown(service: _service.Service, uids: Collection[str]) -> dict[str, str]:
    """The status that the service shows of these users, asked by POST /v1/presence/query."""

    async def ask() -> dict[str, str]:
        wanted, found = list(uids), dict[str, str]()
        connection = await _client.connect(service.port)
        for start in range(0, len(wanted), QUERY_USERS):
            body = msgspec.json.encode({"uids": wanted[start : start + QUERY_USERS]})
            answer = await connection.exchange(_client.post("/v1/presence/query", body, _service.KEY))
            if answer.status != 200:
                raise RuntimeError(f"answered {answer.status}: {answer.body[:500]!r}")
            found |= {each.uid: each.status for each in msgspec.json.decode(answer.body, type=_Items).items}
        connection.close()
        return found

    return _client.run(ask())
