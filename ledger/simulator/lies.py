"""The lies of the simulated query APIs as spells: what is wrong at which node, from when until when."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from random import Random
from typing import Any, Literal, get_args

from ledger.simulator.agenda import Agenda
from ledger.simulator.cluster import SLOTS, SimulatedSession, slot_for
from ledger.simulator.plan import Fault, Plan

Lie = Literal["errors", "slow", "odd", "leader_change", "empty_list"]
Error = Literal["500", "400", "401", "html", "half", "cut", "reset"]
ERRORS: tuple[Error, ...] = get_args(Error)
SLOW_SECONDS = 30.0
FIRST_SECONDS = (2.0, 8.0)
LEADER_CHANGE_SHARE = 0.3
EMPTY_SECONDS = (2.0, 8.0)
SPELLS: dict[Fault, tuple[Lie, tuple[float, float], tuple[float, float]]] = {
    "api-errors": ("errors", (2.0, 8.0), (6.0, 20.0)),
    "api-slow": ("slow", (2.0, 8.0), (10.0, 30.0)),
    "leader-change": ("leader_change", (5.0, 20.0), (15.0, 40.0)),
}
"""Of the faults that come and go: the lie, how long it lasts, and how long until the next one (seconds)."""


@dataclass(frozen=True, slots=True)
class Spell:
    """One lie from `since` to `until` (seconds of the run) at a node, or at all of them for None.

    `what` is the error, "null" for an empty list that is `null`, or "never" for a slow answer that never comes;
    `slots` are those whose leader changed.
    """

    lie: Lie
    node: str | None
    since: float
    until: float
    what: str = ""
    slots: frozenset[int] = frozenset()

    def forgets(self, session: SimulatedSession) -> bool:
        """Whether the new leader of the session's slot has never heard of it."""
        return slot_for(session.uid) in self.slots and session.opened_at < self.since


class Lies:
    """All spells. A method begins one at this instant; the plan's faults begin them by themselves.

    `tell` is called with an action for each.
    """

    def __init__(self, plan: Plan, agenda: Agenda, tell: Callable[..., None]) -> None:
        self._plan, self._agenda, self._tell = plan, agenda, tell
        self._random = Random(f"{plan.seed}:lies")
        self._spells: list[Spell] = []
        self._calm = False

    def begin(self) -> None:
        """Let the first lies follow, if the plan has any."""
        for fault in SPELLS:
            if fault in self._plan.faults:
                self._agenda.at(self._random.uniform(*FIRST_SECONDS), partial(self._by_itself, fault))
        if "api-odd" in self._plan.faults:
            self.odd()

    def calm(self) -> None:
        """End every spell, for good as far as the plan's faults go."""
        self._calm = True
        self._spells = []

    def errors(self, what: Error | None = None, *, seconds: float = 10.0, node: str | None = None) -> None:
        """Nothing but this error: a status, a page of HTML, half a text, an answer cut off, a reset. None draws one."""
        self._agenda.soon(lambda: self._start("errors", node, seconds, what or self._random.choice(ERRORS)))

    def slow(self, *, never: bool = False, seconds: float = 10.0, node: str | None = None) -> None:
        """Questions are answered after 30 s, or never."""
        self._agenda.soon(lambda: self._start("slow", node, seconds, "never" if never else ""))

    def odd(self, *, seconds: float = inf, node: str | None = None) -> None:
        """Fields nobody knows, rows twice, rows of users nobody asked for and of device flags nobody has."""
        self._agenda.soon(lambda: self._start("odd", node, seconds))

    def leader_change(self, share: float, *, seconds: float) -> None:
        """The online status leaves out the connections that were there, of a share of the slots."""
        self._agenda.soon(lambda: self._change_leaders(share, seconds))

    def empty_list(self, *, null: bool = False, seconds: float, node: str | None = None) -> None:
        """The online status is `[]`, or `null`, for everybody."""
        self._agenda.soon(lambda: self._start("empty_list", node, seconds, "null" if null else ""))

    def booted(self, node: str) -> None:
        """A node came back: with the fault `empty-list` it knows nobody for some seconds."""
        if "empty-list" in self._plan.faults and not self._calm:
            what = self._random.choice(("", "null"))
            self._start("empty_list", node, self._random.uniform(*EMPTY_SECONDS), what)

    def told(self, lie: Lie, node: str, t: float) -> Spell | None:
        """The latest spell of this lie at a node at `t`, if there is one."""
        for spell in reversed(self._spells):
            if spell.lie == lie and spell.since <= t < spell.until and spell.node in (None, node):
                return spell
        return None

    def breaks(self, node: str, t: float) -> Literal["cut", "reset"] | None:
        """Whether connections break: before an answer (reset) or in the middle of one (cut)."""
        spell = self.told("errors", node, t)
        match spell and spell.what:
            case "reset":
                return "reset"
            case "cut":
                return "cut"
            case _:
                return None

    def _by_itself(self, fault: Fault) -> None:
        if self._calm:
            return
        lie, lasts, pause = SPELLS[fault]
        seconds = self._random.uniform(*lasts)
        self._agenda.at(self._agenda.now + seconds + self._random.uniform(*pause), partial(self._by_itself, fault))
        node = self._random.choice(self._plan.nodes).name
        match lie:
            case "errors":
                self._start("errors", node, seconds, self._random.choice(ERRORS))
            case "slow":
                self._start("slow", node, seconds, self._random.choice(("", "never")))
            case _:
                self._change_leaders(LEADER_CHANGE_SHARE, seconds)

    def _change_leaders(self, share: float, seconds: float) -> None:
        slots = frozenset(self._random.sample(range(SLOTS), min(SLOTS, max(1, round(share * SLOTS)))))
        self._start("leader_change", None, seconds, slots=slots)

    def _start(
        self, lie: Lie, node: str | None, seconds: float, what: str = "", slots: frozenset[int] = frozenset()
    ) -> None:
        now = self._agenda.now
        self._spells = [spell for spell in self._spells if spell.until > now]
        self._spells.append(Spell(lie, node, now, now + seconds, what, slots))
        line: dict[str, Any] = {"lie": lie} if node is None else {"lie": lie, "node": node}
        line |= {"what": what} if what else {}
        line |= {"seconds": round(seconds, 4)} if seconds < inf else {}
        self._tell("lie", **line)
