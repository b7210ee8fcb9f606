"""Signs of life: darkness, the rhythm of webhooks and the breaker's hold, by a clock that nobody can set."""

import asyncio
from typing import Any, cast

import msgspec
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from ledger.domain.event_types import SourceEvent
from ledger.domain.instants import to_text
from ledger.domain.look import JudgedLook, Watch
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND, Claim, parse_item
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import BreakerClosed, Finding, SourceDark, SourceLit
from ledger.domain.source import SourceState, evolve_source
from ledger.domain.strangers import Strangers
from ledger.reconcile.counters import ReconcileCounters
from ledger.reconcile.judge import Verdicts
from ledger.reconcile.leader_context import LeaderContext
from ledger.reconcile.liveness import SourceLiveness
from ledger.reconcile.source_store import SourceStore

HOUR = 3600.0
T = 1_800_000_000 * SECOND


class Desktop:
    """A source store that keeps the source's state and what is appended, without a ledger."""

    def __init__(self, source: SourceState) -> None:
        self.source, self.name = source, source.name
        self.events: list[SourceEvent] = []
        self.breaker = self
        self.strangers = Strangers()

    def append(self, *events: SourceEvent) -> None:
        for event in events:
            self.events.append(event)
            self.source = evolve_source(self.source, event, len(self.events))

    def reset(self) -> None:
        """Of the breaker's counts, which are not looked at here."""


class World:
    """A source with its signs, and two clocks."""

    def __init__(self, **policy: float) -> None:
        state = SourceState("main", 1, policy=Policy(**policy), last_webhook_at=T)  # type: ignore[arg-type]
        self.source_store = Desktop(state)
        self.wall, self.monotonic = T, 1000.0

        async def database(function: Any, *args: Any) -> Any:
            return function(*args)

        self.context = LeaderContext(
            cast(SourceStore, self.source_store),
            {},
            "i",
            lambda: self.wall,
            lambda: self.monotonic,
            database,
            asyncio.create_task,
            ReconcileCounters(CollectorRegistry()),
        )
        self.liveness = SourceLiveness(self.context, T)

    def passes(self, seconds: float, set_by: float = 0.0) -> None:
        """Time passes, and the machine's clock is set by so much besides."""
        self.monotonic += seconds
        self.wall += round((seconds + set_by) * SECOND)
        asyncio.run(self.liveness.tick())

    def webhook(self) -> None:
        self.source_store.source = msgspec.structs.replace(self.source_store.source, last_webhook_at=self.wall)
        asyncio.run(self.liveness.tick())


def test_a_source_goes_dark_at_the_bound_and_is_lit_by_the_next_word() -> None:
    world = World(dark_seconds=60)
    world.passes(59)
    assert world.source_store.events == []
    world.passes(1)
    assert world.source_store.events == [SourceDark(at=world.wall, since=world.wall - 60 * SECOND)]
    world.passes(100)
    assert len(world.source_store.events) == 1
    world.webhook()
    assert world.source_store.events[1:] == [SourceLit(at=world.wall, by="webhook")]


def test_a_good_poll_is_a_sign_too() -> None:
    world = World(dark_seconds=60)
    world.passes(59)
    asyncio.run(world.liveness.polled())
    world.passes(59)
    assert world.source_store.events == []


def test_a_clock_set_by_an_hour_darkens_nothing() -> None:
    world = World(dark_seconds=900)
    world.passes(1, set_by=HOUR)
    world.passes(1, set_by=HOUR)
    assert world.source_store.events == []


def test_never_dark_by_policy() -> None:
    world = World(dark_seconds=0)
    world.passes(10 * HOUR)
    assert world.source_store.events == []


def test_what_was_heard_before_this_instance_led_counts() -> None:
    world = World(dark_seconds=60)
    world.wall += 50 * SECOND
    world.liveness = SourceLiveness(world.context, T)
    world.passes(10)
    assert [type(event) for event in world.source_store.events] == [SourceDark]


def test_the_breaker_is_closed_when_its_time_is_over_and_not_by_a_clock() -> None:
    world = World(breaker_hold_seconds=60)
    world.source_store.source = msgspec.structs.replace(
        world.source_store.source, breaker_until=world.wall + 60 * SECOND
    )
    world.passes(1)
    world.passes(1, set_by=HOUR)
    assert world.source_store.events == []
    world.passes(59)
    assert [type(event) for event in world.source_store.events] == [BreakerClosed]


def ghosts(world: World, *uids: str) -> Verdicts:
    """Looks that correct these users, who were online ten seconds ago, as no webhook told."""
    agreed_at = world.wall - 10 * SECOND
    finding = Finding("", "ghost", "corrected", agreed_at, world.wall, "sender")
    return Verdicts([(uid, JudgedLook(Watch(0), msgspec.structs.replace(finding, uid=uid))) for uid in uids])


def test_a_crowd_that_stays_connected_is_not_silence() -> None:
    """Its onlines came in a burst when everything began; nobody comes or goes since."""
    world = World(dark_seconds=0)
    for _ in range(5):
        world.passes(2)
        world.webhook()
    for _ in range(100):
        world.passes(10)
        asyncio.run(world.liveness.polled())
        assert not world.liveness.health()[""]["webhooks_silent"]
    assert world.liveness.health()[""]["webhook_interval_seconds"] == 2.0


def test_changes_that_only_looks_found_are_silence_until_a_webhook_comes() -> None:
    world = World(dark_seconds=0)
    world.passes(100)
    world.liveness.judged(ghosts(world, "u"))
    world.passes(100)
    assert not world.liveness.health()[""]["webhooks_silent"]
    world.liveness.judged(ghosts(world, "u", "v"))
    with capture_logs() as logs:
        for _ in range(3):
            world.passes(100)
            noted = world.liveness.health()[""]
            assert noted["webhooks_silent"]
            assert (noted["untold_users"], noted["untold_since"]) == (2, to_text(T + 100 * SECOND))
        world.webhook()
    assert world.liveness.health()[""]["untold_since"] is None
    assert not world.liveness.health()[""]["webhooks_silent"]
    assert [line["event"] for line in logs] == ["webhooks_silent", "webhooks_heard"]
    world.passes(1000)
    assert not world.liveness.health()[""]["webhooks_silent"]


def test_a_node_that_posts_no_more_while_the_others_do_is_silent_until_it_posts() -> None:
    world = World(dark_seconds=0)
    world.source_store.source = msgspec.structs.replace(
        world.source_store.source, node_profiles={"n1": Profile.V3, "n2": Profile.V3}
    )

    def posts(*names: str) -> None:
        world.passes(1)
        nodes = world.source_store.source.nodes
        told = {name: NodeState(last_webhook_at=world.wall) for name in names}
        world.source_store.source = msgspec.structs.replace(world.source_store.source, nodes=nodes | told)
        world.webhook()

    def silent() -> dict[str, Any]:
        noted: dict[str, Any] = world.liveness.health()[""]["silent_nodes"]
        return noted

    for _ in range(30):
        posts("n1", "n2")
    for _ in range(40):
        posts("n2")
    # Nobody has come or gone there, as far as is known.
    assert silent() == {}
    world.liveness.judged(ghosts(world, "u", "v"))
    found_at = world.wall
    posts("n2")
    assert silent() == {"n1": {"untold_users": 2, "untold_since": to_text(found_at)}}
    assert not world.liveness.health()[""]["webhooks_silent"]
    posts("n1", "n2")
    assert silent() == {}


def test_a_wrong_profile_is_said_once_and_until_it_is_right() -> None:
    world = World(dark_seconds=0)
    state = msgspec.structs.replace(world.source_store.source, node_profiles={"n1": Profile.V2_1, "n2": Profile.V2_2})
    world.source_store.source = state
    for number in range(1, 9):
        for node in ("n1", "n2"):
            for item in (f"u-0-1-{number}-1-1", f"u-0-0-{number}-0-0"):
                claim = parse_item(item)
                assert isinstance(claim, Claim)
                world.context.counts[node].hear(claim)
    with capture_logs() as logs:
        told = [world.liveness.health()[""]["profile_mismatches"] for _ in range(3)]
    words = "onlines count their own connection (15 of 15 signs), as in v1 or v2.2 or v3"
    assert told == [{"n1": words}] * 3
    signs = ["onlines count their own connection", 15, 15, ("v1", "v2.2", "v3")]
    assert world.liveness.health()[""]["profile_signs"] == {"n1": signs}
    assert [(line["event"], line["node"], line["profile"]) for line in logs] == [("profile_mismatch", "n1", "v2.1")]
    world.source_store.source = msgspec.structs.replace(state, node_profiles=dict.fromkeys(("n1", "n2"), Profile.V2_2))
    with capture_logs() as logs:
        assert world.liveness.health()[""]["profile_mismatches"] == {}
    assert [line["event"] for line in logs] == ["profile_matches"]
