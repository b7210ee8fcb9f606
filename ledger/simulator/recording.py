"""A run as a recording: NDJSON lines in order of `t`, though a webhook's answer is known later than its arrival."""

import json
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Any

from ledger.simulator.answers import SimulatedPoll
from ledger.simulator.events import Action, AnsweredWebhook
from ledger.simulator.plan import Plan

Line = dict[str, Any]


def first_line(plan: Plan, started_at: float | None = None) -> Line:
    """The `meta` line that begins a recording; `started_at` is Unix seconds of t = 0."""
    line: Line = {
        "t": 0.0,
        "kind": "meta",
        "server": plan.traits.server,
        "nodes": len(plan.nodes),
        "idle": f"{plan.idle_seconds:g}s",
        "manager_token": bool(plan.token),
        "simulated": True,
        "seed": plan.seed,
        "faults": sorted(plan.faults),
    }
    return line if started_at is None else {**line, "started_at": round(started_at, 4)}


def last_line(t: float) -> Line:
    """The `meta` line that ends a recording."""
    return {"t": round(t, 4), "kind": "meta", "end": True}


def dump(line: Line) -> str:
    """One line of a recording, with its line end."""
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n"


def poll_line(t: float, poll: SimulatedPoll) -> Line:
    """A poll as a line of a recording."""
    line: Line = {"t": round(t, 4), "kind": "poll", "node": poll.node, "route": poll.route, "request": poll.request}
    if poll.error is not None:
        return {**line, "error": poll.error}
    return {**line, "status": poll.status, "body": poll.body}


class Recorder:
    """Takes what happened as it becomes known and writes it in order of `t`.

    A webhook under way holds back everything later than its arrival, until `add` brings it or `give_up` ends the wait.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._waiting: list[tuple[float, int, Line]] = []
        self._open: dict[int, float] = {}
        self._count = 0

    def expect(self, key: int, t: float) -> None:
        """A webhook is under way that arrived at `t`."""
        self._open[key] = t

    def give_up(self, key: int) -> None:
        """It never reached the receiver."""
        self._open.pop(key, None)
        self._flush()

    def add(self, event: Action | AnsweredWebhook, key: int | None = None) -> None:
        """Something that happened; `key` as given to `expect`."""
        if key is not None:
            self._open.pop(key, None)
        self.put(event.line() if isinstance(event, AnsweredWebhook) else event.line)

    def put(self, line: Line) -> None:
        """One line at its place."""
        self._count += 1
        heappush(self._waiting, (line["t"], self._count, line))
        self._flush()

    def close(self, t: float) -> None:
        """Write everything that waits, then the last line."""
        self._open.clear()
        self._flush()
        self._write(dump(last_line(t)))

    def _flush(self) -> None:
        until = min(self._open.values(), default=float("inf"))
        while self._waiting and self._waiting[0][0] <= until:
            self._write(dump(heappop(self._waiting)[2]))


def in_order(lines: Iterable[Line]) -> list[Line]:
    """Lines sorted by `t`; those of one instant keep their order."""
    return sorted(lines, key=lambda line: float(line["t"]))
