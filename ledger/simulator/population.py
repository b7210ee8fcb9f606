"""What users do in a simulation: they come, go, vanish, are kicked and replaced; the truth is kept here."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from ledger.simulator.agenda import Agenda
from ledger.simulator.cluster import Cluster, SimulatedSession
from ledger.simulator.events import Action, Totals
from ledger.simulator.people import Person, make_people
from ledger.simulator.plan import Plan
from ledger.simulator.transport import Transport

IDLE_FACTOR = 1.1
PING_SECONDS = 8.0
SOCKET_FACTOR = 1.5
V1_KICK_SECONDS = 2.0
V1_REPLACED_SECONDS = 5.0
V2_REPLACED_SECONDS = 2.0
V3_FORGET_SECONDS = 90.0
CLIENT_OBEYS_SECONDS = (0.2, 3.0)
OLD_CLIENT_CLOSES_SECONDS = (3.0, 8.0)
STARTERS_AT_ONCE = 500
STARTERS_EVERY_SECONDS = 0.1


class Population:
    """All clients. Every change is an action; what the nodes say of it goes to the transport."""

    def __init__(
        self,
        *,
        plan: Plan,
        agenda: Agenda,
        cluster: Cluster,
        transport: Transport,
        totals: Totals,
        emit: Callable[[Action], None],
    ) -> None:
        self._plan, self._agenda, self._cluster, self._transport = plan, agenda, cluster, transport
        self._totals, self._emit = totals, emit
        self._random = Random(f"{plan.seed}:people")
        self.people = make_people(plan.users, self._random, "slot-zero" in plan.faults)
        self._alive: dict[str, list[SimulatedSession]] = {}
        self._since: dict[str, float] = {}
        self._spans: dict[str, list[tuple[float, float]]] = {}
        self._calm = False
        self.rows_kept = 0.0
        """The share of the closed connections that their nodes go on listing, with an offline at each ping."""
        self._on_end: dict[int, Callable[[], None]] = {}
        """By the number of a connection that a real client holds: what is to be done when it is over."""

    def begin(self) -> None:
        """Announce the nodes and let the first change follow."""
        for name in self._cluster.nodes:
            self.act("start", node=name)
        self._begin_online()
        self._agenda.at(self._pause(), self._change)

    def online(self) -> list[str]:
        """The users who really are online, sorted."""
        return sorted(self._alive)

    def online_count(self) -> int:
        """How many users really are online."""
        return len(self._alive)

    def truth(self, to: float) -> dict[str, list[tuple[float, float]]]:
        """When everybody who ever connected really was online, as (from, to) in seconds of the run, up to `to`."""
        spans = {uid: list(spans) for uid, spans in self._spans.items()}
        for uid, since in self._since.items():
            spans.setdefault(uid, []).append((since, max(since, round(to, 4))))
        return spans

    def calm(self) -> None:
        """Nobody comes or goes by themselves any more; clients that lost their node still return."""
        self._calm = True

    def sessions(self, uid: str) -> list[SimulatedSession]:
        """The live connections of a user."""
        return list(self._alive.get(uid, []))

    def act(self, do: str, **what: Any) -> None:
        """Tell one action at this instant."""
        t = self._agenda.now
        self._totals.actions += 1
        self._emit(Action(t, do, {"t": round(t, 4), "kind": "action", "do": do, **what}))

    def ended_by_server(self, session: SimulatedSession) -> None:
        """A client loses its connection; the cluster has seen to the rest."""
        self._die(session)
        self.act("ended_by_server", **self._who(session))

    def returns(self, uid: str, device_flag: int, device_id: str) -> None:
        """A client that lost its node connects again, unless the same device is back already."""
        if not any((s.device_flag, s.device_id) == (device_flag, device_id) for s in self._alive.get(uid, [])):
            self.connect(uid, device_flag, device_id)

    def connect(self, uid: str, device_flag: int, device_id: str) -> None:
        """A client connects to a node at random; with no node up it is refused."""
        up = [node.name for node in self._cluster.nodes.values() if node.up]
        if not up:
            name = self._random.choice(list(self._cluster.nodes))
            self.act("refused", uid=uid, device_flag=device_flag, node=name, error="ConnectionRefusedError")
            return
        self._connect_to(self._random.choice(up), uid, device_flag, device_id)

    def enter(
        self, name: str, uid: str, device_flag: int, device_id: str, on_end: Callable[[], None]
    ) -> SimulatedSession | None:
        """A real client connects to a node, None where it is down; `on_end` is called when the connection is over."""
        if not self._cluster.nodes[name].up:
            return None
        session = self._connect_to(name, uid, device_flag, device_id)
        session.by_door = True
        self._on_end[session.conn] = on_end
        return session

    def _connect_to(self, name: str, uid: str, device_flag: int, device_id: str) -> SimulatedSession:
        for old in [s for s in self._alive.get(uid, []) if (s.device_flag, s.device_id) == (device_flag, device_id)]:
            self._replace(old, name)
        session, said = self._cluster.connect(self._agenda.now, uid, device_flag, device_id, name)
        if uid not in self._alive:
            self._alive[uid] = []
            self._goes_online(uid)
        self._alive[uid].append(session)
        self.act("connect", **self._who(session))
        self._transport.say(said)
        return session

    def _pause(self) -> float:
        return self._agenda.now + self._random.expovariate(self._plan.rate)

    def _begin_online(self) -> None:
        """Who is online from the start connects: at once, or as fast as a bounded queue (v3) takes it."""
        random = Random(f"{self._plan.seed}:start")
        starters = random.sample(self.people, round(self._plan.start_online * len(self.people)))
        size = len(starters) if self._plan.traits.queue is None else STARTERS_AT_ONCE
        for place, first in enumerate(range(0, len(starters), max(1, size))):
            some = starters[first : first + size]
            self._agenda.at(place * STARTERS_EVERY_SECONDS, partial(self._start, some))

    def _start(self, people: list[Person]) -> None:
        for person in people:
            if person.uid not in self._alive:
                self.connect(person.uid, *person.devices[0])

    def _change(self) -> None:
        if self._calm:
            return
        self._agenda.at(self._pause(), self._change)
        person = self._random.choice(self.people)
        alive = self._alive.get(person.uid, [])
        free = [d for d in person.devices if all(d != (s.device_flag, s.device_id) for s in alive)]
        if not free or (alive and self._random.random() < 0.5):
            self._leave(self._random.choice(alive))
        else:
            self._arrive(person, alive, free)

    def _arrive(self, person: Person, alive: list[SimulatedSession], free: list[tuple[int, str]]) -> None:
        if "kick" in self._plan.faults and alive and self._random.random() < 0.3:
            old = self._random.choice(alive)
            self.connect(person.uid, old.device_flag, old.device_id)
            return
        self.connect(person.uid, *self._random.choice(free))

    def _leave(self, session: SimulatedSession) -> None:
        if "half-open" in self._plan.faults and self._random.random() < 0.25:
            self.vanish(session)
        elif "kick" in self._plan.faults and self._random.random() < 0.25:
            self._kick(session)
        else:
            self.close(session)

    def close(self, session: SimulatedSession) -> None:
        """The client closes; a session that has ended otherwise meanwhile stays as it is."""
        if not session.socket_open:
            return
        self._die(session)
        self.act("close", **self._who(session))
        keeps_row = self.rows_kept > 0 and self._random.random() < self.rows_kept
        self._transport.say(self._cluster.close(session, keeps_row=keeps_row))
        if keeps_row:
            self._agenda.at(self._agenda.now + PING_SECONDS, partial(self._says_again, session))

    def close_all(self, uid: str) -> None:
        """A user closes all connections."""
        for session in self.sessions(uid):
            self.close(session)

    def _says_again(self, session: SimulatedSession) -> None:
        """What v2.2.5 does after a lost node: the same offline at every ping, as long as the row is there."""
        said = self._cluster.say_again(session)
        self._transport.say(said)
        if said:
            self._agenda.at(self._agenda.now + PING_SECONDS, partial(self._says_again, session))

    def vanish(self, session: SimulatedSession) -> None:
        """The client is gone and its socket stays: v2 says offline when idle and again when it closes the socket."""
        self._die(session)
        self.act("vanish", **self._who(session))
        idle, now = self._plan.idle_seconds, self._agenda.now
        if self._plan.traits.counts == "node_local":
            self._agenda.at(now + V3_FORGET_SECONDS, lambda: self._cluster.forget_route(session))
            return
        if self._plan.traits.idle_says_offline:
            self._agenda.at(now + idle * IDLE_FACTOR, lambda: self._transport.say(self._cluster.idle(session)))
        self._agenda.at(now + idle * SOCKET_FACTOR, lambda: self._transport.say(self._cluster.close(session)))

    def _kick(self, session: SimulatedSession) -> None:
        """A device is told to quit: v1 ends it itself, elsewhere its client obeys after a while."""
        self.act("kick", uid=session.uid, device_flag=session.device_flag)
        for other in [s for s in self._alive[session.uid] if s.device_flag == session.device_flag]:
            if self._plan.profile == "v1":
                self._agenda.at(self._agenda.now + V1_KICK_SECONDS, partial(self._end, other))
            else:
                self._later(CLIENT_OBEYS_SECONDS, other)

    def _later(self, seconds: tuple[float, float], session: SimulatedSession) -> None:
        self._agenda.at(self._agenda.now + self._random.uniform(*seconds), lambda: self.close(session))

    def _end(self, session: SimulatedSession) -> None:
        """The server closes a socket."""
        if session.socket_open:
            said = self._cluster.close(session)
            self.ended_by_server(session)
            self._transport.say(said)

    def _replace(self, old: SimulatedSession, name: str) -> None:
        """The same device id connects again: what becomes of the older socket depends on the version."""
        now, profile = self._agenda.now, self._plan.profile
        if profile == "v3" and old.node == name:
            self._end(old)
            return
        self._die(old)
        match profile:
            case "v1":
                self._cluster.forget(old)
                self._agenda.at(now + V1_REPLACED_SECONDS, lambda: self._end(old))
            case "v2.1":
                self._agenda.at(now + V2_REPLACED_SECONDS, lambda: self._end(old))
            case "v2.2":
                self._agenda.at(now + V2_REPLACED_SECONDS, lambda: self._cluster.forget(old))
                self._later(OLD_CLIENT_CLOSES_SECONDS, old)
            case "v3":
                self._later(OLD_CLIENT_CLOSES_SECONDS, old)

    def _die(self, session: SimulatedSession) -> None:
        session.alive = False
        if (on_end := self._on_end.pop(session.conn, None)) is not None:
            on_end()
        sessions = self._alive.get(session.uid, [])
        if session in sessions:
            sessions.remove(session)
            if not sessions:
                del self._alive[session.uid]
                self._goes_offline(session.uid)

    def _goes_online(self, uid: str) -> None:
        t, spans = round(self._agenda.now, 4), self._spans.get(uid)
        self._since[uid] = spans.pop()[0] if spans and spans[-1][1] >= t else t

    def _goes_offline(self, uid: str) -> None:
        span = self._since.pop(uid), round(self._agenda.now, 4)
        self._spans.setdefault(uid, []).append(span)

    @staticmethod
    def _who(session: SimulatedSession) -> dict[str, Any]:
        return {
            "uid": session.uid,
            "device_flag": session.device_flag,
            "device_id": session.device_id,
            "node": session.node,
            "conn": session.conn,
        }
