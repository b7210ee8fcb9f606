"""The simulated world as a whole: a deterministic machine whose `advance` yields what happens, without I/O or clock."""

from ledger.simulator.agenda import Agenda
from ledger.simulator.cluster import Cluster
from ledger.simulator.events import Answer, Arrival, Happening, Totals
from ledger.simulator.lies import Lies
from ledger.simulator.node_faults import NodeFaults
from ledger.simulator.plan import Plan
from ledger.simulator.population import Population
from ledger.simulator.transport import Transport


class SimulatedWorld:
    """A plan at work. Instants are seconds since its start; two worlds of one plan that get the same answers are equal.

    The caller asks `next_at`, calls `advance`, brings each Arrival to a receiver and reports back with `answered`.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.totals = Totals()
        self.agenda = Agenda()
        self._happened: list[Happening] = []
        self.cluster = Cluster(plan.traits, [node.name for node in plan.nodes])
        self.transport = Transport(plan, self.agenda, self.totals, self._happened.append)
        self.population = Population(
            plan=plan,
            agenda=self.agenda,
            cluster=self.cluster,
            transport=self.transport,
            totals=self.totals,
            emit=self._happened.append,
        )
        self.lies = Lies(plan, self.agenda, self.population.act)
        self.faults = NodeFaults(plan, self.agenda, self.cluster, self.transport, self.population, self.lies)
        self.population.begin()
        self.lies.begin()
        self.faults.begin()

    @property
    def now(self) -> float:
        """How far the world has advanced."""
        return self.agenda.now

    def next_at(self) -> float | None:
        """The instant of the next thing to happen, as far as is known before further answers."""
        return self.agenda.next_at()

    def advance(self, to: float) -> list[Happening]:
        """Let everything up to `to` happen; returns it in order."""
        self.agenda.run(to)
        happened = self._happened[:]
        self._happened.clear()
        return happened

    def answered(self, arrival: Arrival, t: float, answer: Answer) -> None:
        """What the receiver answered to an arrival, at `t`: "ok" for 200, anything else is a failure."""
        self.transport.answered(arrival, t, answer)

    def online(self) -> list[str]:
        """The truth: the users who really are online, sorted."""
        return self.population.online()

    def truth(self, to: float | None = None) -> dict[str, list[tuple[float, float]]]:
        """When everybody who ever connected really was online, (from, to) in seconds of the run, up to `to` or now.

        It is what the actions of a recording of this run come to.
        """
        return self.population.truth(self.now if to is None else to)

    def calm(self, *, traffic: bool = True) -> None:
        """From now on no fault begins and no lie is told; with `traffic` False nobody comes or goes either.

        A node that is down comes back, and so do its clients.
        """
        self.transport.calm()
        self.faults.calm()
        self.lies.calm()
        if not traffic:
            self.population.calm()
