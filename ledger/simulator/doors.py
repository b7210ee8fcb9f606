"""The doors of all nodes of a simulation, and what those who come through them do in its world."""

import asyncio
from collections.abc import Callable
from functools import partial

from ledger.simulator.agenda import Task
from ledger.simulator.client_frames import Introduction
from ledger.simulator.cluster import SimulatedSession
from ledger.simulator.door import Admission, Door
from ledger.simulator.plan import Plan
from ledger.simulator.world import SimulatedWorld


class Doors:
    """Of the nodes that have a `client_port`; `put` has the world do something now."""

    def __init__(self, plan: Plan, world: SimulatedWorld, put: Callable[[Task], None]) -> None:
        self.admission = Admission()
        """Whom they let in: everybody, unless said otherwise."""
        self._world = world
        self._put = put
        self._doors = {
            node.name: Door(
                plan.profile,
                world.cluster.nodes[node.name].number,
                node.client_port,
                self.admission,
                partial(self._enter, node.name),
                self._leave,
                plan.seed,
            )
            for node in plan.nodes
            if node.client_port is not None
        }

    @property
    def ports(self) -> dict[str, int]:
        """The port to which clients of each node connect."""
        return {name: door.port for name, door in self._doors.items()}

    def of(self, node: str) -> Door | None:
        """A node's, if it has one."""
        return self._doors.get(node)

    async def open(self) -> None:
        """Let clients in. Raises PlanError where a port is taken."""
        for door in self._doors.values():
            await door.open()

    async def shut(self) -> None:
        """End every connection."""
        for door in self._doors.values():
            await door.shut()

    async def _enter(self, node: str, client: Introduction, on_end: Callable[[], None]) -> SimulatedSession | None:
        entered: asyncio.Future[SimulatedSession | None] = asyncio.get_running_loop().create_future()
        population = self._world.population

        def enter() -> None:
            if entered.cancelled():
                return
            entered.set_result(population.enter(node, client.uid, client.device_flag, client.device_id, on_end))

        self._put(enter)
        return await entered

    def _leave(self, session: SimulatedSession) -> None:
        self._put(partial(self._world.population.close, session))
