"""A service that reconciles with simulated nodes: its settings, the simulation next to it, what it answers of users."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import httpx2

from bench import _service
from bench._report import Options
from ledger.simulator.events import SimulatedEvent
from ledger.simulator.plan import PROFILES, NodePlan, Profile
from ledger.simulator.ports import free_port
from ledger.simulator.runtime import Simulation

SOURCE = "main"
CHUNK_UIDS = 10_000
"""Users that one query may ask about."""

TABLES = """
[[sources]]
name = "{source}"
profile = "{profile}"
webhook_secret = "{secret}"
{nodes}
{tables}
[policy]
{policy}
"""


class Reconciling(_service.Service):
    """A service whose source has simulated nodes with query APIs; `policy` is what differs from the defaults.

    `nodes` are so many new ones, or those of another instance; one without an `api_port` has no query API. `token` is
    the managerToken of them all, `tables` are more tables of the settings.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str,
        profile: Profile,
        nodes: int | Sequence[NodePlan],
        policy: Mapping[str, float],
        token: str = "",
        tables: str = "",
    ) -> None:
        super().__init__(folder, database_url)
        self._token = token
        self._tables = tables
        self.nodes = new_nodes(nodes) if isinstance(nodes, int) else tuple(nodes)
        self._profile = profile
        self.set_policy(policy)

    def set_policy(self, policy: Mapping[str, float]) -> None:
        """Write the settings, with this policy; they hold from the next start."""
        self.configure(
            TABLES.format(
                source=SOURCE,
                profile=self._profile,
                secret=_service.SECRET,
                nodes="".join(_settings_of(node, self._token) for node in self.nodes),
                tables=self._tables,
                policy="\n".join(f"{name} = {value:g}" for name, value in policy.items()),
            )
        )

    @property
    def url(self) -> str:
        """Where it listens; the target of a simulation's plan."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """What a request brings: the key for everything."""
        return {"Authorization": f"Bearer {_service.KEY}"}

    def client(self) -> httpx2.AsyncClient:
        """A client of its API with the key for everything."""
        return httpx2.AsyncClient(base_url=self.url, headers=self.headers, timeout=60.0, trust_env=False)


def new_nodes(number: int) -> tuple[NodePlan, ...]:
    """So many nodes, each with a free port for its query API."""
    return tuple(NodePlan(f"n{place}", _service.SECRET, api_port=free_port()) for place in range(1, number + 1))


def _settings_of(node: NodePlan, token: str) -> str:
    address = "" if node.api_port is None else f'api_url = "http://127.0.0.1:{node.api_port}"\n'
    secret = f'token = "{token}"\n' if token else ""
    return f'[[sources.nodes]]\nname = "{node.name}"\n{address}{secret}'


class Answered(NamedTuple):
    """What the service says of a user at a position of the ledger."""

    status: str
    reason: str | None
    position: int


async def answers(client: httpx2.AsyncClient, uids: Iterable[str]) -> dict[str, Answered]:
    """What the service says of these users. Raises httpx2.HTTPStatusError."""
    found: dict[str, Answered] = {}
    asked = list(uids)
    for start in range(0, len(asked), CHUNK_UIDS):
        answer = await client.post("/v1/presence/query", json={"uids": asked[start : start + CHUNK_UIDS]})
        answer.raise_for_status()
        for item in answer.json()["items"]:
            found[item["uid"]] = Answered(item["status"], item["reason"], item["as_of"]["position"])
    return found


@asynccontextmanager
async def at_work(
    simulation: Simulation, until: Callable[[Simulation], bool] = lambda simulation: simulation.elapsed > 0
) -> AsyncIterator[Simulation]:
    """A simulation that runs, from when `until` holds; it is stopped at the end. Raises what ends it before."""
    running = asyncio.create_task(simulation.run())
    try:
        while not until(simulation):
            if running.done():
                break
            await asyncio.sleep(0.01)
        if not running.done():
            yield simulation
    finally:
        simulation.stop()
        await running


def nobody_listens(_: SimulatedEvent) -> None:
    """What happens in the simulation is of no interest."""


def profile_for(name: str) -> Profile:
    """The simulator's profile of that name. Raises ValueError."""
    profiles: dict[str, Profile] = {profile: profile for profile in PROFILES}
    if name not in profiles:
        raise ValueError(f"no profile {name}; there are: {', '.join(PROFILES)}")
    return profiles[name]


def amounts(options: Options, **defaults: str) -> tuple[dict[str, str], Options]:
    """-> (the defaults, changed by `--set`; the options left, whose settings are the embedded PostgreSQL's)"""
    own = {name: value for name, value in options.settings.items() if name in defaults}
    rest = {name: value for name, value in options.settings.items() if name not in defaults}
    return defaults | own, replace(options, settings=rest)
