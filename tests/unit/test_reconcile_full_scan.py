"""Full scans: whoever an answer has judged is not judged by it again, however soon they are to be looked at."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, cast

from prometheus_client import CollectorRegistry

from ledger.domain.drift import Connection, Poll
from ledger.domain.look import Watch
from ledger.domain.observation import Instant
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState
from ledger.reconcile import judge, plan
from ledger.reconcile.counters import ReconcileCounters
from ledger.reconcile.full_scan import FullScan
from ledger.reconcile.leader_context import LeaderContext
from ledger.reconcile.liveness import SourceLiveness
from ledger.reconcile.runs import Run
from ledger.reconcile.source_store import SourceStore
from ledger.sources.wukongim.answers import NodeConnection, NodeConnections
from ledger.sources.wukongim.client import QueryClient
from tests.support.reconciler import Reconciler


class DueUsers(NamedTuple):
    watches: dict[str, Watch]


class MemoryStore:
    """A source store on a ledger in memory; it notes whom it was to judge."""

    def __init__(self, world: Reconciler) -> None:
        self._world = world
        self.name = world.name
        self.judged: list[str] = []

    @property
    def source(self) -> SourceState:
        return self._world.source

    def head(self) -> int:
        return self._world.draft.head

    def watches_for(self, uids: Sequence[str]) -> dict[str, Watch]:
        return {uid: self._world.agenda.get(uid) for uid in uids}

    def online_after(self, after: str, limit: int) -> list[str]:
        online = (uid for uid, known in self._world.draft.presences.items() if known.status == "online" and uid > after)
        return sorted(online)[:limit]

    def take_due(self, limit: int, in_flight: set[str], *, by: Instant) -> DueUsers:
        watches = self.watches_for(sorted(self._world.draft.presences.keys() - in_flight))
        return DueUsers(dict([each for each in watches.items() if each[1].due_at <= by][:limit]))

    def put_back(self, watches: Mapping[str, Watch], due_at: Instant) -> None:
        for uid, watch in watches.items():
            self._world.put_back(uid, watch, due_at)

    def judge_connections(
        self,
        poll: Poll,
        watches: Mapping[str, Watch],
        union: Mapping[str, Sequence[Connection]],
        nodes: Collection[str],
    ) -> judge.Verdicts:
        self.judged += watches
        looks = plan.looks_at_union(self._world.presence, self.source, watches, union, nodes)
        list(self._world.take_answer(poll, looks, len(watches), judge.connections_text(union, list(watches))))
        return self._world.verdicts


class Node:
    """A node with these connections."""

    def __init__(self, *rows: NodeConnection) -> None:
        self._rows = rows

    async def connections(self) -> NodeConnections:
        return NodeConnections(self._rows, len(self._rows))


def scan(world: Reconciler, store: MemoryStore, *rows: NodeConnection) -> Run:
    """A full scan of all that the node lists -> the run that it is of."""

    async def database(function: Any, *args: Any) -> Any:
        return function(*args)

    async def make() -> Run:
        context = LeaderContext(
            cast(SourceStore, store),
            {"n1": cast(QueryClient, Node(*rows))},
            "i",
            lambda: world.at,
            lambda: 0.0,
            database,
            asyncio.create_task,
            ReconcileCounters(CollectorRegistry()),
        )
        run = Run.new("manual", world.at)
        await FullScan(context, SourceLiveness(context, world.at)).make(run)
        return run

    return asyncio.run(make())


def test_whoever_is_not_found_is_one_look_nearer_to_offline_and_no_more() -> None:
    world = Reconciler(Profile.V2_2)
    world.hear("n1", "here-0-1-1-1-1", "gone-0-1-2-1-1", "vip-0-1-3-1-1", "away-0-1-4-1-1")
    world.hear("n1", "away-0-0-4-0-0")
    world.set_tier("vip", "vip")
    world.pass_time(10.0)
    store = MemoryStore(world)
    here, vip = NodeConnection("here", 1, 0, None), NodeConnection("vip", 3, 0, None)
    run = scan(world, store, here, vip)
    # A second look is to be soon, as is the next one at a vip: this was none.
    assert sorted(store.judged) == ["away", "gone", "here", "vip"]
    doubt = world.agenda.get("gone").doubt
    assert doubt is not None
    assert (doubt.looks, run.counts.looked, run.counts.drifted) == (1, 4, 1)
    world.pass_time(5.0)
    scan(world, store, here, vip)
    assert world.presence("gone").status == "offline"
    assert world.agenda.get("gone").doubt is None
