"""`POST /message/send` of the simulated nodes over real HTTP: what each version takes, answers and refuses."""

import asyncio
import base64
import json
from typing import Any

import httpx2
import pytest

from ledger.simulator.answers import Reply
from ledger.simulator.commands import Received
from ledger.simulator.plan import Profile
from tests.support.simulated import simulating

TOKEN = "t0ken-of-the-manager"
PAYLOAD = {"cmd": "onlineStatus", "type": 99, "param": {"uid": "somebody"}}
EVERY_PROFILE = pytest.mark.parametrize("profile", ["v1", "v2.1", "v2.2", "v3"])


def command(**changed: Any) -> dict[str, Any]:
    return {
        "header": {"no_persist": 1, "red_dot": 0, "sync_once": 1},
        "from_uid": "____system",
        "channel_id": "",
        "channel_type": 0,
        "subscribers": ["alice", "bob", "nobody"],
        "payload": base64.b64encode(json.dumps(PAYLOAD).encode()).decode(),
    } | changed


@EVERY_PROFILE
def test_a_command_reaches_those_who_are_connected(profile: Profile) -> None:
    async def test() -> None:
        async with simulating(profile=profile, token=TOKEN) as simulation, httpx2.AsyncClient() as client:
            simulation.calm(traffic=False)
            for uid, flag in (("alice", 0), ("alice", 1), ("bob", 1)):
                simulation.world.cluster.connect(simulation.elapsed, uid, flag, f"{uid}{flag}", "n1")
            send = simulation.api_urls["n1"] + "/message/send"
            answer = await client.post(send, json=command(), headers={"token": TOKEN})
            assert answer.status_code == 200
            said = answer.json()
            match profile:
                case "v1":
                    assert {"message_id", "message_seq"} <= set(said["data"])
                case "v3":
                    assert (set(said), said["reason"]) == ({"message_id", "message_seq", "reason"}, 1)
                case _:
                    assert said == {"status": 200}
            [taken] = simulation.commands.taken
            assert (taken.node, taken.payload) == ("n1", PAYLOAD)
            assert sorted(taken.received) == [Received("alice", 0), Received("alice", 1), Received("bob", 1)]
            # v2 thinks of the app alone, and tells of the others by a webhook.
            assert taken.echoed == (("bob", "nobody") if profile.startswith("v2") else ())

    asyncio.run(test())


@EVERY_PROFILE
@pytest.mark.parametrize(
    ("changed", "taken_by"),
    [
        ({"from_uid": ""}, {"v1", "v2.1", "v2.2"}),
        ({"header": {"no_persist": 1, "sync_once": 0}}, {"v1"}),
        ({"channel_id": "x", "channel_type": 2}, set[str]()),
        ({"subscribers": []}, set[str]()),
        ({"payload": "no base64!"}, set[str]()),
    ],
)
def test_what_a_version_does_not_take_is_400(profile: Profile, changed: dict[str, Any], taken_by: set[str]) -> None:
    async def test() -> None:
        async with simulating(profile=profile) as simulation, httpx2.AsyncClient() as client:
            answer = await client.post(simulation.api_urls["n1"] + "/message/send", json=command(**changed))
            assert answer.status_code == (200 if profile in taken_by else 400)
            if answer.status_code == 400:
                assert set(answer.json()) == ({"error"} if profile == "v3" else {"msg", "status"})
            assert len(simulation.commands.taken) + simulation.commands.refused == 1

    asyncio.run(test())


def test_a_token_that_is_wrong_and_a_refusal_on_command() -> None:
    async def test() -> None:
        async with simulating(token=TOKEN) as simulation, httpx2.AsyncClient() as client:
            send = simulation.api_urls["n1"] + "/message/send"
            assert (await client.post(send, json=command())).status_code == 401
            simulation.commands.refusal = Reply(500, b"{}")
            assert (await client.post(send, json=command(), headers={"token": TOKEN})).status_code == 500
            assert simulation.commands.taken == []

    asyncio.run(test())
