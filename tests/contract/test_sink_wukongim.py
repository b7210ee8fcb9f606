"""The kind `wukongim` through simulated nodes of each version: who is told what, and what becomes of a refusal."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ledger.domain.profile import Profile
from ledger.settings import WukongimSettings
from ledger.simulator.answers import Reply
from ledger.simulator.cluster import SimulatedSession
from ledger.simulator.commands import SentCommand
from ledger.simulator.plan import Profile as ProfileName
from ledger.simulator.ports import free_port
from ledger.simulator.runtime import Simulation
from ledger.sinks.kind import Batch, Done, Outcome, Retry
from ledger.sinks.kinds.wukongim import Wukongim
from ledger.sources.wukongim.command import MAX_SUBSCRIBERS
from ledger.sources.wukongim.query_node import QueryNode
from ledger.sources.wukongim.sender import CommandSender
from ledger.store.ledger import Ledger
from ledger.working_state import watch_list_changes
from projections.models import current
from tests.support.following import connect
from tests.support.ledgers import Instance, configure, running
from tests.support.simulated import simulating
from tests.support.surroundings import DirectSurroundings
from tests.support.wukongim_clients import Android, Ios, Web

TOKEN = "t0ken-of-the-manager"
EVERY_PROFILE = pytest.mark.parametrize("profile", ["v1", "v2.1", "v2.2", "v3"])
FAST = 100_000.0
"""Sends a second of a sink that is not to wait."""


class Sink:
    """The kind at work: users connect to the simulated nodes and are told of in the ledger."""

    def __init__(
        self, simulation: Simulation, instance: Instance, surroundings: DirectSurroundings, kind: Wukongim
    ) -> None:
        self.simulation = simulation
        self.kind = kind
        self.surroundings = surroundings
        self._instance = instance
        self._sessions: dict[tuple[str, int], SimulatedSession] = {}
        self.remembered: dict[str, bytes] = {}

    async def connect(self, *devices: tuple[str, int]) -> None:
        """These devices come online, at the first node."""
        cluster, items = self.simulation.world.cluster, []
        for uid, flag in devices:
            session, _ = cluster.connect(self.simulation.elapsed, uid, flag, f"{uid}-{flag}", "n1")
            self._sessions[uid, flag] = session
            items.append(f"{uid}-{flag}-1-{session.conn_id}-1-1")
        await self._instance.post(_as_body(items))

    async def disconnect(self, uid: str, flag: int) -> None:
        session = self._sessions.pop((uid, flag))
        self.simulation.world.cluster.close(session)
        left = sum(1 for each, _ in self._sessions if each == uid)
        await self._instance.post(_as_body([f"{uid}-{flag}-0-{session.conn_id}-0-{left}"]))

    async def tell(self, *uids: str) -> Outcome:
        """As the follower does: what was remembered comes with the next one."""
        batch = await self.surroundings.batch(*uids, remembered=self.remembered)
        outcome = await self.kind.tell(batch)
        if isinstance(outcome, Done):
            self.remembered |= {uid: told for uid, told in outcome.remember.items() if told is not None}
        return outcome

    @property
    def taken(self) -> list[SentCommand]:
        return self.simulation.commands.taken


def _as_body(items: Iterable[str]) -> bytes:
    return ("[" + ",".join(f'"{item}"' for item in items) + "]").encode()


@asynccontextmanager
async def sink(
    url: str, ledger: Ledger, profile: ProfileName = "v2.2", *, names: tuple[str, ...] = ("n1",), **settings: Any
) -> AsyncIterator[Sink]:
    configure(ledger, profile=Profile(profile), nodes=names)
    surroundings = DirectSurroundings(url)
    async with simulating(names, profile=profile, token=TOKEN) as simulation, running(ledger) as instance:
        simulation.calm(traffic=False)
        nodes = [QueryNode(name, simulation.api_urls[name], TOKEN, Profile(profile)) for name in names]
        given = {"sends_per_second": FAST} | settings
        kind = Wukongim(WukongimSettings("dots", "main", **given), CommandSender(nodes, ""), surroundings)
        try:
            yield Sink(simulation, instance, surroundings, kind)
        finally:
            await kind.close()
            surroundings.connection.close()


@pytest.fixture(autouse=True)
def friends(database_url: str) -> None:
    """Two lists, of which alice is on both."""
    with connect(database_url) as connection:
        watch_list_changes.put(connection, "of bob", ["alice"], ["bob", "dave", "alice"], "app")
        watch_list_changes.put(connection, "of carol", ["alice"], ["carol", "bob"], "app")


def read_by(commands: Sequence[SentCommand], *readers: Any) -> None:
    """What each of these clients received, in its order."""
    for command in commands:
        for uid, flag in command.received:
            for reader, of in readers:
                if of == (uid, flag):
                    reader.read(command.payload)


@EVERY_PROFILE
def test_watchers_who_are_online_see_what_get_answers(database_url: str, ledger: Ledger, profile: ProfileName) -> None:
    async def test() -> None:
        async with sink(database_url, ledger, profile) as at_work:
            android, ios, web, own = Android("bob"), Ios("carol", 1), Web("bob"), Android("alice")
            readers = [(android, ("bob", 0)), (web, ("bob", 1)), (ios, ("carol", 1)), (own, ("alice", 0))]
            await at_work.connect(("bob", 0), ("bob", 1), ("carol", 1))
            told = 0
            for step in (("alice", 0, True), ("alice", 1, True), ("alice", 0, False), ("alice", 0, True),
                         ("alice", 1, False), ("alice", 0, False)):  # fmt: skip
                uid, flag, comes = step
                await (at_work.connect((uid, flag)) if comes else at_work.disconnect(uid, flag))
                assert await at_work.tell("alice") == Done(at_work.remembered)
                read_by(at_work.taken[told:], *readers)
                told = len(at_work.taken)
                [answered] = await at_work.surroundings.answers(["alice"])
                is_online = answered.presence.status == "online"
                assert android.online["alice"] == web.online["alice"] == ios.online["alice"] == is_online
                flags = {each.device_flag: each.status == "online" for each in answered.presence.devices}
                if is_online:
                    assert android.main["alice"] == (0 if flags[0] else 1)
                if flags[0]:
                    assert own.own.get(1, False) == flags.get(1, False)
            # One command for each change, to the union of those who watch by whichever list; nobody who is offline.
            to_watchers = [each for each in at_work.taken if "alice" not in each.body["subscribers"]]
            assert {tuple(each.body["subscribers"]) for each in to_watchers} == {("bob", "carol")}
            # That the web comes or goes beside the app is nothing to them.
            assert len(to_watchers) == 4
            assert all(each.body["from_uid"] == ("____system" if profile == "v3" else "") for each in at_work.taken)
            assert {each.body["channel_id"] for each in at_work.taken} == {""}
            assert at_work.simulation.commands.refused == 0

    asyncio.run(test())


def test_who_comes_online_is_told_nothing_of_the_past(database_url: str, ledger: Ledger) -> None:
    async def test() -> None:
        async with sink(database_url, ledger) as at_work:
            await at_work.connect(("alice", 0))
            assert isinstance(await at_work.tell("alice"), Done)
            await at_work.connect(("bob", 0))
            assert isinstance(await at_work.tell("bob", "alice"), Done)
            assert at_work.taken == []
            await at_work.disconnect("alice", 0)
            assert isinstance(await at_work.tell("alice"), Done)
            assert [each.body["subscribers"] for each in at_work.taken] == [["bob"]]

    asyncio.run(test())


def test_a_sink_of_a_list_tells_its_watchers(database_url: str, ledger: Ledger) -> None:
    async def test() -> None:
        async with sink(database_url, ledger, list="of carol") as at_work:
            await at_work.connect(("bob", 0), ("carol", 0), ("dave", 0), ("alice", 0))
            assert isinstance(await at_work.tell("alice"), Done)
            assert [each.body["subscribers"] for each in at_work.taken] == [["bob", "carol"]]

    asyncio.run(test())


def test_many_watchers_are_told_in_several_commands(database_url: str, ledger: Ledger) -> None:
    async def test() -> None:
        watchers = [f"w{number:04}" for number in range(MAX_SUBSCRIBERS + 1)]
        with connect(database_url) as connection:
            watch_list_changes.put(connection, "famous", ["star"], watchers, "app")
        async with sink(database_url, ledger) as at_work:
            await at_work.connect(*[(uid, 0) for uid in watchers], ("star", 0))
            assert isinstance(await at_work.tell("star"), Done)
            assert [len(each.body["subscribers"]) for each in at_work.taken] == [MAX_SUBSCRIBERS, 1]
            assert sorted(uid for each in at_work.taken for uid, _ in each.received) == watchers

    asyncio.run(test())


@pytest.mark.parametrize(
    ("profile", "refusal", "reason"),
    [
        ("v2.2", Reply(400, b'{"msg":"no","status":400}'), "n1: 400: no"),
        ("v2.2", Reply(401, b""), "n1: 401: the token is refused"),
        ("v3", Reply(200, b'{"message_id":0,"message_seq":0,"reason":15}'), "n1: reason 15"),
    ],
)
def test_a_refusal_fails_the_sink_with_its_reason_and_is_made_up_for(
    database_url: str, ledger: Ledger, profile: ProfileName, refusal: Reply, reason: str
) -> None:
    async def test() -> None:
        async with sink(database_url, ledger, profile) as at_work:
            await at_work.connect(("bob", 0), ("alice", 0))
            at_work.simulation.commands.refusal = refusal
            assert await at_work.tell("alice") == Retry(f"WuKongIM did not take a command: {reason}")
            assert at_work.taken == []
            at_work.simulation.commands.refusal = None
            assert isinstance(await at_work.tell("alice"), Done)
            assert [each.payload["param"]["online"] for each in at_work.taken] == [1]

    asyncio.run(test())


def test_what_was_sent_of_a_batch_that_failed_is_not_sent_again(database_url: str, ledger: Ledger) -> None:
    async def test() -> None:
        async with sink(database_url, ledger) as at_work:
            with connect(database_url) as connection:
                watch_list_changes.put(connection, "of zed", ["zoe"], ["zed"], "app")
            await at_work.connect(("bob", 0), ("zed", 0), ("alice", 0), ("zoe", 0))
            send = at_work.kind._sender.send

            async def refusing(message: bytes, subscribers: Sequence[str]) -> Any:
                if "zed" in subscribers:
                    at_work.simulation.commands.refusal = Reply(503, b'{"error":"retry required"}')
                return await send(message, subscribers)

            at_work.kind._sender.send = refusing  # type: ignore[method-assign]
            at_work.kind._budget.change(2.0, 1e9)  # one after the other
            assert isinstance(await at_work.tell("alice", "zoe"), Retry)
            at_work.kind._sender.send = send  # type: ignore[method-assign]
            at_work.simulation.commands.refusal = None
            assert isinstance(await at_work.tell("alice", "zoe"), Done)
            assert [each.body["subscribers"] for each in at_work.taken] == [["bob"], ["zed"]]

    asyncio.run(test())


def test_another_node_sends_where_one_does_not_answer(database_url: str, ledger: Ledger) -> None:
    async def test() -> None:
        async with sink(database_url, ledger) as at_work:
            await at_work.connect(("bob", 0), ("alice", 0))
            gone = QueryNode("gone", f"http://127.0.0.1:{free_port()}", TOKEN, Profile.V2_2)
            here = QueryNode("n1", at_work.simulation.api_urls["n1"], TOKEN, Profile.V2_2)
            silent = QueryNode("silent", None, None, Profile.V2_2)
            await at_work.kind.close()
            at_work.kind._sender = CommandSender([silent, gone, here], "")
            assert isinstance(await at_work.tell("alice"), Done)
            assert [each.node for each in at_work.taken] == ["n1"]
            await at_work.kind.close()
            at_work.kind._sender = CommandSender([gone], "")
            await at_work.disconnect("alice", 0)
            assert await at_work.tell("alice") == Retry(
                "WuKongIM did not take a command: gone: connection refused", 5.0
            )

    asyncio.run(test())
    with pytest.raises(ValueError, match="api_url"):
        CommandSender([QueryNode("n1", None, None, Profile.V1)], "")


def test_no_more_is_sent_in_a_second_than_the_setting_says(database_url: str, ledger: Ledger) -> None:
    async def test() -> None:
        users = [f"u{number}" for number in range(6)]
        with connect(database_url) as connection:
            watch_list_changes.put(connection, "many", users, ["bob"], "app")
        async with sink(database_url, ledger, sends_per_second=10.0) as at_work:
            await at_work.connect(("bob", 0), *[(uid, 0) for uid in users])
            began = time.monotonic()
            assert isinstance(await at_work.tell(*users), Done)
            assert len(at_work.taken) == len(users)
            # The first goes at once, and each other one a tenth of a second after the one before.
            assert time.monotonic() - began >= 0.45

    asyncio.run(test())


def test_who_waits_for_their_turn_is_told_of_as_they_are_by_then(database_url: str, ledger: Ledger) -> None:
    async def test() -> None:
        users = [f"u{number}" for number in range(6)]
        with connect(database_url) as connection:
            watch_list_changes.put(connection, "many", users, ["bob"], "app")
        async with sink(database_url, ledger, sends_per_second=4.0) as at_work:
            await at_work.connect(("bob", 0), *[(uid, 0) for uid in users])
            send, begun, gone = at_work.kind._sender.send, asyncio.Event(), asyncio.Event()

            async def waiting(message: bytes, subscribers: Sequence[str]) -> Any:
                begun.set()
                await gone.wait()
                return await send(message, subscribers)

            at_work.kind._sender.send = waiting  # type: ignore[method-assign]
            telling = asyncio.create_task(at_work.tell(*users))
            await begun.wait()
            await at_work.disconnect("u5", 0)
            gone.set()
            assert isinstance(await telling, Done)
            assert await at_work.tell("u5") == Done({"u5": at_work.remembered["u5"]})
            told = [each.payload["param"] for each in at_work.taken if each.payload["param"]["uid"] == "u5"]
            assert [each["online"] for each in told] == [0]

    asyncio.run(test())


def test_connected_is_who_has_a_connection_in_that_source(database_url: str, ledger: Ledger) -> None:
    async def test() -> None:
        configure(ledger, sources=("main", "other.1"))
        async with running(ledger) as instance:
            await instance.post(
                b'["a-0-1-1-1-1","b-1-1-2-1-1","b-1-0-2-0-0","d-1-1-9-1-1","d-0-1-8-1-2","d-0-0-8-0-1"]'
            )
            await instance.post(b'["c-0-1-1-1-1","b-0-1-3-1-1"]', source="other.1")
        with connect(database_url) as connection:
            everybody = ["a", "b", "c", "d", "nobody"]
            assert current.connected_in(connection, everybody, "main") == {"a", "d"}
            assert current.connected_in(connection, everybody, "other.1") == {"b", "c"}
            assert current.connected_in(connection, everybody, "otherx1") == set()

    asyncio.run(test())


def test_a_batch_of_nobody_is_done(database_url: str, ledger: Ledger) -> None:
    async def test() -> None:
        async with sink(database_url, ledger) as at_work:
            assert await at_work.kind.tell(Batch("none", [], {})) == Done({})
            assert await at_work.kind.keep(await at_work.surroundings.head()) is None

    asyncio.run(test())
