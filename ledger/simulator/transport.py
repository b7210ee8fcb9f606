"""The way of a webhook from a node's sender to the receiver and of its answer back, with the faults of that way."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from ledger.simulator.agenda import Agenda
from ledger.simulator.cluster import QueuedItem
from ledger.simulator.events import Answer, Arrival, Totals
from ledger.simulator.plan import Fault, Plan, parse_shares
from ledger.simulator.sender import Post, Sender, make_sender

SERIAL_SECONDS = 0.002
POOLED_SECONDS = (0.0005, 0.015)
OVERTAKEN_SECONDS = (0.05, 1.5)
REORDERED_SECONDS = (0.0, 0.5)
DELAYED_SECONDS = (0.3, 3.0)
FIRST_LOST_ANSWER = 2
FIRST_COPY = 4


@dataclass(slots=True)
class _Way:
    """A node's sender and the POSTs of it that wait for an answer."""

    sender: Sender
    waiting: dict[int, Post]
    armed_at: float | None = None
    up: bool = True
    boots: int = 1


class Transport:
    """All nodes' senders. `emit` receives each arrival; `answered` takes what the receiver answered."""

    def __init__(self, plan: Plan, agenda: Agenda, totals: Totals, emit: Callable[[Arrival], None]) -> None:
        self._plan, self._agenda, self._totals, self._emit = plan, agenda, totals, emit
        self._traits, self._shares = plan.traits, parse_shares(plan.fault_share)
        self._faults: frozenset[Fault] = plan.faults
        self._random = Random(f"{plan.seed}:transport")
        self._ways: dict[str, _Way] = {}
        self._mute_until = 0.0
        for node in plan.nodes:
            phase = self._random.uniform(0.0, self._traits.poll_seconds)
            self._ways[node.name] = _Way(make_sender(self._traits, phase), {})
            self._arm(self._ways[node.name], node.name)

    def calm(self) -> None:
        """From now on nothing goes wrong on the way."""
        self._faults = frozenset()

    def mute(self, seconds: float) -> None:
        """From now on, for so long, whatever nodes have to say is lost with no more than a log line."""
        self._mute_until = self._agenda.now + seconds

    def say(self, said: list[QueuedItem]) -> None:
        """Queue items at their nodes' senders.

        An overloaded node (`drop`) loses some with no more than a log line; items of one user may be handled in either
        order (`reorder`, where one sender keeps the order of what it is given).
        """
        for name, item in said:
            way = self._ways[name]
            if not way.up:
                continue
            self._totals.items += 1
            is_dropped = "drop" in self._faults and self._random.random() < self._shares.items_lost
            if is_dropped or self._agenda.now < self._mute_until:
                self._totals.dropped_items += 1
                continue
            if self._is_overtaken():
                later = self._agenda.now + self._random.uniform(*OVERTAKEN_SECONDS)
                self._agenda.at(later, partial(self._push, way, name, item, way.boots))
            else:
                self._push(way, name, item, way.boots)

    def _is_overtaken(self) -> bool:
        """Whether an item is overtaken by later ones, where one sender keeps the order of what it is given."""
        may_be = "reorder" in self._faults and self._traits.senders == 1
        return may_be and self._random.random() < self._shares.overtaken

    def _push(self, way: _Way, name: str, item: str, boots: int) -> None:
        if not way.up or boots != way.boots:
            return
        before = way.sender.dropped_items
        way.sender.push(self._agenda.now, item)
        self._totals.dropped_items += way.sender.dropped_items - before
        self._arm(way, name)

    def halt(self, name: str) -> None:
        """A node stops sending; what was pending is gone."""
        way = self._ways[name]
        way.up = False
        way.waiting.clear()
        way.sender.boot(self._agenda.now)

    def flush(self, name: str) -> None:
        """A node that stops sends what it has, if its version does."""
        way = self._ways[name]
        way.sender.flush()
        self._arm(way, name)

    def boot(self, name: str) -> None:
        """A node's sender starts from scratch."""
        way = self._ways[name]
        way.up = True
        way.boots += 1
        way.sender.boot(self._agenda.now)
        self._arm(way, name)

    def answered(self, arrival: Arrival, t: float, answer: Answer) -> None:
        """The receiver answered at `t`; only "ok" is a delivery, and the answer to a copy reaches nobody."""
        if answer == "ok":
            self._totals.accepted += 1
        else:
            self._totals.refused += 1
        if arrival.copy == 1:
            self._agenda.at(
                t, lambda: self._settle(arrival.node, arrival.post, answer == "ok" and not arrival.answer_lost)
            )

    def _settle(self, name: str, post_id: int, delivered: bool) -> None:
        way = self._ways[name]
        post = way.waiting.pop(post_id, None)
        if post is None or not way.up:
            return
        batches, items = way.sender.dropped_batches, way.sender.dropped_items
        way.sender.answered(post, self._agenda.now, delivered)
        self._totals.dropped_batches += way.sender.dropped_batches - batches
        self._totals.dropped_items += way.sender.dropped_items - items
        self._arm(way, name)

    def _arm(self, way: _Way, name: str) -> None:
        wake_at = way.sender.wake_at() if way.up else None
        if wake_at is None or (way.armed_at is not None and way.armed_at <= wake_at):
            return
        way.armed_at = max(wake_at, self._agenda.now)
        self._agenda.at(wake_at, lambda: self._wake(way, name))

    def _wake(self, way: _Way, name: str) -> None:
        if way.armed_at is None or way.armed_at > self._agenda.now:
            return
        way.armed_at = None
        if not way.up:
            return
        for post in way.sender.step(self._agenda.now):
            self._send(way, name, post)
        self._arm(way, name)

    def _send(self, way: _Way, name: str, post: Post) -> None:
        now, faults, shares = self._agenda.now, self._faults, self._shares
        way.waiting[post.id] = post
        self._totals.sent += 1
        self._totals.retried += post.attempt > 1
        self._agenda.at(now + self._traits.timeout_seconds, lambda: self._settle(name, post.id, False))
        if "drop" in faults and self._is_lost(name, post):
            return
        seconds = SERIAL_SECONDS if self._traits.senders == 1 else self._random.uniform(*POOLED_SECONDS)
        if "reorder" in faults and self._traits.senders > 1 and self._random.random() < shares.late:
            seconds += self._random.uniform(*REORDERED_SECONDS)
        if "delay" in faults and self._random.random() < shares.delayed:
            seconds += self._random.uniform(*DELAYED_SECONDS)
        lost = copied = False
        if "duplicate" in faults:
            chance = self._random.random()
            lost = self._totals.sent == FIRST_LOST_ANSWER or chance < shares.answers_lost
            copied = not lost and (self._totals.sent == FIRST_COPY or chance > 1 - shares.copied)
        self._arrive(name, post, seconds, copy=1, answer_lost=lost)
        if copied:
            self._totals.copied += 1
            self._arrive(name, post, seconds + self._random.uniform(0.001, 0.05), copy=2, answer_lost=False)

    def _is_lost(self, name: str, post: Post) -> bool:
        """Whether a POST is lost on the way: it fails, or something on the way takes it and says 200."""
        failed = self._random.random() < self._shares.failed
        if not failed and (self._shares.swallowed == 0 or self._random.random() >= self._shares.swallowed):
            return False
        self._totals.lost_on_the_way += 1
        if not failed:
            self._totals.dropped_batches += 1
            self._totals.dropped_items += len(post.items)
        self._agenda.at(self._agenda.now + SERIAL_SECONDS, lambda: self._settle(name, post.id, not failed))
        return True

    def _arrive(self, name: str, post: Post, seconds: float, copy: int, answer_lost: bool) -> None:
        t = self._agenda.now + seconds
        patience = max(0.001, self._traits.timeout_seconds - seconds)
        arrival = Arrival(t, name, post.id, post.body, len(post.items), post.attempt, copy, answer_lost, patience)
        self._agenda.at(t, lambda: self._emit(arrival))
