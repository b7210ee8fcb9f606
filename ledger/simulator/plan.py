"""What a simulation is asked to do (target, nodes, profile, users, faults, seed), and how each profile behaves."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ledger.errors import LedgerError

CountsMean = Literal["after", "before", "node_local"]
Fault = Literal[
    "drop",
    "duplicate",
    "reorder",
    "delay",
    "restart",
    "storm",
    "slot-zero",
    "half-open",
    "kick",
    "api-errors",
    "api-slow",
    "api-odd",
    "leader-change",
    "empty-list",
]
Profile = Literal["v1", "v2.1", "v2.2", "v3"]
FAULTS: tuple[Fault, ...] = get_args(Fault)
PROFILES: tuple[Profile, ...] = get_args(Profile)


class PlanError(LedgerError):
    """The plan of a simulation contradicts itself or names what does not exist."""


class TargetUnreachableError(LedgerError):
    """Nothing listens where the webhooks are to be posted."""


@dataclass(frozen=True, slots=True)
class Traits:
    """How one version behaves: what its counts say, and how its webhook sender works (durations in seconds)."""

    server: str
    counts: CountsMean
    timeout_seconds: float = 5.0
    attempts: int = 5
    pause_seconds: float = 1.0
    poll_seconds: float = 2.0
    queue: int | None = None
    batch: int | None = None
    senders: int = 1
    silent_slot_zero: bool = False
    idle_says_offline: bool = False


TRAITS: dict[Profile, Traits] = {
    "v1": Traits("v12", "after"),
    "v2.1": Traits("v21", "before", silent_slot_zero=True, idle_says_offline=True),
    "v2.2": Traits("v22", "after", timeout_seconds=10.0, silent_slot_zero=True, idle_says_offline=True),
    "v3": Traits("v3", "node_local", attempts=3, pause_seconds=0.0, queue=1024, batch=512, senders=16),
}


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of the webhooks a fault of their way meets: the chance of an item or a POST, 0 to 1.

    `swallowed` POSTs are taken by something on the way, which says 200; `failed` ones get no answer and are retried.
    """

    items_lost: float = 0.04
    swallowed: float = 0.0
    failed: float = 0.05
    answers_lost: float = 0.12
    copied: float = 0.15
    overtaken: float = 0.2
    late: float = 1.0
    delayed: float = 0.2


def parse_shares(share: float | None) -> Shares:
    """The usual ones for None, else those by which each fault meets this share of the webhooks.

    Of what is to be lost one half are single items, the other half whole bodies.
    """
    if share is None:
        return Shares()
    half = share / 2
    return Shares(
        items_lost=half,
        swallowed=half / (1 - half),
        failed=min(0.05, share),
        answers_lost=half,
        copied=half,
        overtaken=share,
        late=share,
        delayed=share,
    )


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node: its name, the secret of its webhook path or the whole `hook` URL, and the ports of its query API and
    of its door for clients.

    A port 0 takes a free one; None serves no query API, has no door.
    """

    name: str
    secret: str = field(default="", repr=False)
    api_port: int | None = None
    hook: str | None = field(default=None, repr=False)
    client_port: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A run. `rate` is changes of presence a second, `seconds` None runs until stopped, `idle_seconds` is connIdleTime.

    `fault_share` is how much of the webhooks `drop`, `duplicate`, `reorder` and `delay` meet; None leaves each its own.
    `start_online` is the share of the users who are connected from the start, each with one device. The same seed
    gives the same actions at the same instants of the run. Raises PlanError where it contradicts itself.
    """

    target: str = "http://127.0.0.1:8640"
    source: str = "main"
    nodes: tuple[NodePlan, ...] = (NodePlan("n1"),)
    profile: Profile = "v2.2"
    users: int = 20
    seconds: float | None = 60.0
    rate: float = 5.0
    faults: frozenset[Fault] = frozenset()
    seed: int = 0
    record: Path | None = None
    token: str = field(default="", repr=False)
    idle_seconds: float = 20.0
    fault_share: float | None = None
    start_online: float = 0.0

    def __post_init__(self) -> None:
        names = [node.name for node in self.nodes]
        unknown = sorted(set(self.faults) - set(FAULTS))
        if unknown:
            raise PlanError(f"unknown fault {', '.join(unknown)}; choose from: {', '.join(FAULTS)}")
        if self.profile not in PROFILES:
            raise PlanError(f"unknown profile {self.profile}; choose from: {', '.join(PROFILES)}")
        if not names or len(set(names)) != len(names):
            raise PlanError("a simulation needs at least one node, and each name once")
        if self.profile == "v1" and len(names) > 1:
            raise PlanError("v1 has no cluster: give one node")
        if self.users < 1 or self.rate <= 0 or self.idle_seconds <= 0:
            raise PlanError("users, rate and idle seconds must be above 0")
        if self.seconds is not None and self.seconds <= 0:
            raise PlanError("seconds must be above 0")
        if self.fault_share is not None and not 0 <= self.fault_share < 1:
            raise PlanError("the share of faults must be at least 0 and below 1")
        if not 0 <= self.start_online <= 1:
            raise PlanError("the share of users online at the start must be from 0 to 1")

    @property
    def traits(self) -> Traits:
        """How the profile of this plan behaves."""
        return TRAITS[self.profile]

    def hook_url(self, node: NodePlan) -> str:
        """The URL that the node posts to, without the event's name; it holds the secret."""
        return node.hook or f"{self.target.rstrip('/')}/hooks/{self.source}/{node.name}/{node.secret}"
