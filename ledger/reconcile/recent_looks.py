"""What the looks of the last while found of a source, for its alerts: users shown wrongly, by what caused it."""

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple

from ledger.domain.source import SourceState
from ledger.reconcile.judge import Verdicts

SLOTS = 60
"""The window is counted in so many parts, each of which leaves it at once."""


class Incident(NamedTuple):
    """What caused drifts: a node's boot or outage, or else a webhook that did not tell (`lost`)."""

    cause: str
    node: str = ""
    boot: int = 0
    """The position of the boot."""


class _Slot(NamedTuple):
    begins: float
    looked: Counter[str]
    wrong: Counter[Incident]
    attributed: Counter[str]


class RecentLooks:
    """The looks of the last `window_seconds`; `seconds` is a clock that only goes forward."""

    def __init__(self, window_seconds: float, seconds: Callable[[], float]) -> None:
        self._window = window_seconds
        self._seconds = seconds
        self._began = seconds()
        self._slots: deque[_Slot] = deque()

    def judged(self, verdicts: Verdicts, source: SourceState) -> None:
        """An answer was judged: drifts that were corrected, as far as they changed who was shown online."""
        slot = self._slot()
        slot.looked["users"] += len(verdicts.judged)
        for _, judged in verdicts.judged:
            event = judged.event
            # Of whom nothing was known, nothing wrong was shown.
            if event is None or event.drift is None or event.status_before in ("unknown", event.status_after):
                continue
            cause = event.attributed_to or "gap"
            slot.wrong[_incident(cause, source)] += 1
            slot.attributed[cause] += 1

    def swept(self, node: str, users: int, source: SourceState) -> None:
        """Sessions of so many users ended with a node's boot."""
        if users and (state := source.nodes.get(node)) is not None and state.boot_position:
            self._slot().wrong[Incident("restart", node, state.boot_position)] += users

    def told(self) -> dict[str, Any]:
        """What the window holds, and for how long it has been counted, JSON-ready."""
        self._drop()
        looked, wrong, attributed = Counter[str](), Counter[Incident](), Counter[str]()
        for slot in self._slots:
            looked += slot.looked
            wrong += slot.wrong
            attributed += slot.attributed
        lost = {cause: users for cause, users in attributed.items() if cause not in ("restart", "node")}
        return {
            "seconds": round(self._seconds() - self._began, 1),
            "looked": looked["users"],
            "drifts": [
                {**each._asdict(), "users": users, "causes": lost if each.cause == "lost" else {}}
                for each, users in wrong.items()
            ],
        }

    def _slot(self) -> _Slot:
        now = self._seconds()
        if not self._slots or now - self._slots[-1].begins >= self._window / SLOTS:
            self._drop()
            self._slots.append(_Slot(now, Counter(), Counter(), Counter()))
        return self._slots[-1]

    def _drop(self) -> None:
        oldest = self._seconds() - self._window
        while self._slots and self._slots[0].begins < oldest:
            self._slots.popleft()


def _incident(cause: str, source: SourceState) -> Incident:
    """A drift that a boot explains belongs to the last one; what an outage explains, to the node that is down."""
    if cause == "restart":
        booted = [(state.boot_position, name) for name, state in source.nodes.items() if state.boot_position]
        position, node = max(booted, default=(0, ""))
        return Incident("restart", node, position)
    if cause == "node":
        down = [(state.down_since, name) for name, state in source.nodes.items() if state.down_since is not None]
        return Incident("node", max(down, default=(0, ""))[1])
    return Incident("lost")
