"""Crashes, stops and reconnect storms of the simulated nodes, at instants drawn from the seed."""

from functools import partial
from random import Random

from ledger.simulator.agenda import Agenda
from ledger.simulator.cluster import Cluster, SimulatedSession
from ledger.simulator.lies import Lies
from ledger.simulator.plan import Plan
from ledger.simulator.population import IDLE_FACTOR, Population
from ledger.simulator.transport import Transport

DOWN_SECONDS = 3.0
STOPPED_AFTER_SECONDS = {"v1": 0.01, "v2.1": 1.0, "v2.2": 1.0, "v3": 0.5}
ROUTE_LIFE_SECONDS = 90.0
FIRST_SECONDS = (6.0, 12.0)
BETWEEN_SECONDS = (15.0, 30.0)
RESTART_RETURNS = (0.7, 0.5, 4.0)
STORM_RETURNS = (0.8, 0.0, 0.3)
Returns = tuple[float, float, float]


class NodeFaults:
    """Faults `restart` (a crash or, one time in three, a stop) and `storm` (a crash; most clients return at once).

    `returns` is of the clients that lost their node: the share that comes back, and between how many seconds after the
    boot, evenly. Fault `empty-list` brings restarts of its own where the plan has none.
    """

    def __init__(
        self, plan: Plan, agenda: Agenda, cluster: Cluster, transport: Transport, population: Population, lies: Lies
    ) -> None:
        self._plan, self._agenda, self._cluster = plan, agenda, cluster
        self._transport, self._population, self._lies = transport, population, lies
        self._kinds = sorted(plan.faults & {"restart", "storm"})
        if "empty-list" in plan.faults and not self._kinds:
            self._kinds = ["restart"]
        self._random = Random(f"{plan.seed}:outages")

    def begin(self) -> None:
        """Let the first outage follow, if the plan has any."""
        if self._kinds:
            self._agenda.at(self._random.uniform(*FIRST_SECONDS), self._outage)

    def calm(self) -> None:
        """No further outage by itself; a node that is down comes back."""
        self._kinds = []

    def _outage(self) -> None:
        if not self._kinds:
            return
        self._agenda.at(self._agenda.now + self._random.uniform(*BETWEEN_SECONDS), self._outage)
        kind, graceful = self._random.choice(self._kinds), self._random.random() < 1 / 3
        up = [node.name for node in self._cluster.nodes.values() if node.up]
        if not up:
            return
        name = self._random.choice(up)
        if kind == "storm":
            self.crash(name, returns=STORM_RETURNS)
        elif graceful:
            self.stop(name)
        else:
            self.crash(name)

    def crash(self, name: str, returns: Returns = RESTART_RETURNS, down_seconds: float = DOWN_SECONDS) -> None:
        """kill -9: no word about anybody. A node that is down stays as it is."""
        if not self._cluster.nodes[name].up:
            return
        self._population.act("crash", node=name)
        self._down(name, returns, down_seconds, [])

    def stop(self, name: str, returns: Returns = RESTART_RETURNS, down_seconds: float = DOWN_SECONDS) -> None:
        """SIGTERM: v1 and v2 discard what is pending and end every client, v3 says offline for everybody first."""
        node = self._cluster.nodes[name]
        if not node.up:
            return
        ended: list[SimulatedSession] = []
        self._population.act("stop", node=name)
        if self._plan.profile == "v3":
            ended = self._living(name)
            said = self._cluster.close_all(name)
            for session in ended:
                self._population.ended_by_server(session)
            self._transport.say(said)
            self._transport.flush(name)
        else:
            self._transport.halt(name)
        node.up = False
        t = self._agenda.now + STOPPED_AFTER_SECONDS[self._plan.profile]
        self._agenda.at(t, partial(self._stopped, name, returns, down_seconds, ended))

    def scale_in(self, name: str, returns: Returns = RESTART_RETURNS) -> None:
        """A node is taken out of a v2 cluster: its slots go to the others, then it is stopped, for good."""
        if not self._cluster.nodes[name].up or sum(node.member for node in self._cluster.nodes.values()) < 2:
            return
        self._population.act("scale_in", node=name)
        self._cluster.hand_over(name)
        ended = self._living(name)
        self._transport.halt(name)
        self._cluster.halt(name)
        for session in ended:
            self._population.ended_by_server(session)
        self._population.act("stopped", node=name)
        self._return(ended, returns)

    def _living(self, name: str) -> list[SimulatedSession]:
        return [session for session in self._cluster.nodes[name].sockets.values() if session.alive]

    def _stopped(self, name: str, returns: Returns, down_seconds: float, ended: list[SimulatedSession]) -> None:
        self._down(name, returns, down_seconds, ended)
        self._population.act("stopped", node=name)

    def _down(self, name: str, returns: Returns, down_seconds: float, ended: list[SimulatedSession]) -> None:
        living = self._living(name)
        self._transport.halt(name)
        self._cluster.halt(name)
        for session in living:
            self._population.ended_by_server(session)
        self._agenda.at(self._agenda.now + down_seconds, lambda: self._boot(name, ended + living, returns))

    def _boot(self, name: str, ended: list[SimulatedSession], returns: Returns) -> None:
        now = self._agenda.now
        self._cluster.boot(now, name)
        self._transport.boot(name)
        self._population.act("start", node=name)
        self._lies.booted(name)
        if self._plan.profile == "v3":
            self._agenda.at(now + ROUTE_LIFE_SECONDS, lambda: self._cluster.forget_ghosts(name, now))
            self._agenda.at(now + ROUTE_LIFE_SECONDS, self._cluster.refresh_routes)
        else:
            ghosts_until = now + self._plan.idle_seconds * IDLE_FACTOR
            self._agenda.at(ghosts_until, lambda: self._cluster.forget_ghosts(name, now))
        self._return(ended, returns)

    def _return(self, ended: list[SimulatedSession], returns: Returns) -> None:
        """The clients of a node that is gone come back, a share of them."""
        share, first, last = returns
        for session in ended:
            if not session.by_door and self._random.random() < share:
                self._returns(self._agenda.now + self._random.uniform(first, last), session)

    def _returns(self, t: float, session: SimulatedSession) -> None:
        self._agenda.at(t, partial(self._population.returns, session.uid, session.device_flag, session.device_id))
