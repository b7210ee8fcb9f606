"""Clusters: a token that shuts questions by name, leaders that know nothing, lost onlines, rows that stay, scale-in."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from typer.testing import CliRunner

from bench._simulated import SOURCE
from bench.outside._cases import Chapter, Trial
from bench.outside._live import POLICY, SETTLED_SECONDS, Live, held
from ledger.cli.app import app
from ledger.simulator.offline import generate
from ledger.simulator.plan import Fault, NodePlan, Plan
from tests.support.recordings import WITH_POLLS, figures_of, has_reference, lines_of, missed

CHAPTER = Chapter()

TOKEN = "the-manager-token"  # noqa: S105
FAR = 1e6
"""Seconds that a node stays down for good."""


@CHAPTER.case("3a", "a v2.2 cluster of three with a token converges as one without, no look by name fails")
def token_cluster(trial: Trial) -> str:
    """Webhooks are lost, a node is killed; then everybody must be right, through `/connz` alone."""

    async def check(live: Live) -> str:
        await asyncio.sleep(2.0)
        live.simulation.crash("n2", down_seconds=1.0)
        await asyncio.sleep(4.0)
        live.calm()
        took = await live.until_right()
        source, runs = await live.source(), await live.runs()
        assert source["looks"]["route"] == "GET /connz", source["looks"]
        assert source["looks"]["all_connections"]["calls"] == 3, source["looks"]
        failed = Counter(reason for run in runs for reason in (run.get("failures") or {}).values())
        assert not any("401" in reason or "circuit" in reason for reason in failed), failed
        uid = live.simulation.world.online()[0]
        answer = await live.client.post(f"/v1/sources/{SOURCE}/reconcile", json={"uids": [uid]})
        path = answer.raise_for_status().headers["location"]
        run = await live.ended(path)
        assert (run["counts"]["looked"], run["counts"]["failed"]) == (1, 0), run
        return f"right {took:.1f} s after the calm; {source['looks']['because']}"

    return held(trial, check, nodes=3, token=TOKEN, faults=frozenset({"drop"}))


@CHAPTER.case("3a", "the same cluster without a token, to hold against it", in_short=False)
def open_cluster(trial: Trial) -> str:
    """The same traffic and the same crash."""

    async def check(live: Live) -> str:
        await asyncio.sleep(2.0)
        live.simulation.crash("n2", down_seconds=1.0)
        await asyncio.sleep(4.0)
        live.calm()
        return f"right {await live.until_right():.1f} s after the calm"

    return held(trial, check, nodes=3, faults=frozenset({"drop"}))


@CHAPTER.case("8a", "whom a new slot leader does not know stays online, whatever the rows say", in_short=False)
def ignorant_leaders(trial: Trial) -> str:
    """All leaders of a cluster have changed, and nobody has come or gone since: rows are missing for half of them."""

    async def check(live: Live) -> str:
        await asyncio.sleep(2.0)
        live.calm()
        await live.until_right()
        live.simulation.lies.leader_change(1.0, seconds=FAR)
        deadline = time.monotonic() + 4 * POLICY["tier_normal_seconds"]
        while time.monotonic() < deadline:
            assert not (wrong := await live.wrong()), wrong
            await asyncio.sleep(0.5)
        corrected = [
            event
            for uid in live.simulation.world.online()
            for event in await live.events(uid)
            if event["status_after"] == "offline" and event["verdict"] == "corrected"
        ]
        assert not corrected, corrected[:2]
        return f"{len(live.simulation.world.online())} connected, none turned offline"

    return held(trial, check, rate=0.001, start_online=1.0)


@CHAPTER.case("8d", "newcomers whose online was lost are found within the tier's bound; the source is not good")
def lost_onlines(trial: Trial) -> str:
    """Not one webhook comes: everybody who is connected is unknown to us."""

    async def check(live: Live) -> str:
        deadline = time.monotonic() + 3 * POLICY["tier_normal_seconds"]
        while wrong := await live.wrong():
            assert time.monotonic() < deadline, f"{len(wrong)} not found"
            await asyncio.sleep(0.2)
        source = await live.source()
        while not any("no webhook has ever come" in reason for reason in source["reasons"]):
            assert time.monotonic() < deadline + SETTLED_SECONDS, source["reasons"]
            await asyncio.sleep(0.2)
            source = await live.source()
        assert source["health"] == "degraded", source["health"]
        return f"{len(live.simulation.world.online())} found at {live.simulation.elapsed:.1f} s; {source['reasons'][0]}"

    async def mute(live: Live) -> str:
        live.simulation.mute(FAR)
        live.simulation.bring([f"newcomer-{place}" for place in range(12)])
        await asyncio.sleep(1.0)
        assert len(live.simulation.world.online()) == 12
        return await check(live)

    return held(trial, mute, nodes=1, rate=0.001, start_online=0.0)


@CHAPTER.case("8c", "who opened after a node's death is not taken for one of its users", in_short=False)
def dead_node(trial: Trial) -> str:
    """n3 dies for good; users who connect afterwards and go unheard must be shown offline, not held by n3."""

    async def check(live: Live) -> str:
        await asyncio.sleep(2.0)
        live.simulation.crash("n3", down_seconds=FAR, returns=(1.0, 0.0, 1.0))
        await asyncio.sleep(12.0)
        live.simulation.mute(3.0)
        await asyncio.sleep(3.0)
        live.calm()
        began = time.monotonic()
        while wrong := await live.wrong(but_unknown=True):
            assert time.monotonic() - began < SETTLED_SECONDS, wrong
            await asyncio.sleep(0.2)
        down_since = next(n["down_since"] for n in (await live.source())["nodes"] if n["name"] == "n3")
        assert down_since is not None
        placed = [
            (uid, event["position"])
            for uid in live.simulation.truth()
            for event in await live.events(uid)
            for located in event.get("located", ())
            if located["held_by"] == "n3" and await _seen_after(live, uid, located, event, down_since)
        ]
        assert not placed, placed
        return f"nobody wrong {time.monotonic() - began:.1f} s after the calm"

    return held(trial, check, nodes=3)


async def _seen_after(live: Live, uid: str, located: Mapping[str, Any], event: Mapping[str, Any], at: str) -> bool:
    """Whether a webhook told of the session, alive, after an instant and before that event."""
    return any(
        told["kind"] == "webhook_observed"
        and told["online"]
        and (told["conn_id"], told["device_flag"]) == (located["conn_id"], located["device_flag"])
        and at < told["received_at"]
        and told["position"] < event["position"]
        for told in await live.events(uid)
    )


@CHAPTER.case("8f", "a row of a connection that an offline has closed opens nothing: no corrections", in_short=False)
def rows_that_stay(trial: Trial) -> str:
    """`/connz` keeps the rows of half of those who close, and the same offline comes at every ping."""

    async def check(live: Live) -> str:
        live.simulation.keep_rows(0.5)
        await asyncio.sleep(15.0)
        live.calm()
        await live.until_right()
        await asyncio.sleep(20.0)
        assert not (wrong := await live.wrong()), wrong
        source = await live.source()
        corrections: Counter[str] = Counter()
        for uid in live.simulation.truth():
            events = await live.events(uid)
            corrections[uid] = sum(e["verdict"] == "corrected" and e["rule"] != "connz_located" for e in events)
        most = max(corrections.values(), default=0)
        assert most <= 3, corrections.most_common(3)
        contradicted = source["looks"]["all_connections"]["contradicted"]
        assert contradicted > 0, source["looks"]
        return f"{contradicted} rows of closed connections, at most {most} corrections of a user"

    return held(trial, check, nodes=2, rate=2.0)


@CHAPTER.case("8i", "a node that is stopped and then taken out of the settings ends nobody elsewhere", in_short=False)
def scale_in(trial: Trial) -> str:
    """The documented order: stop the node, let its clients come back elsewhere, then take it out of the settings."""

    async def check(live: Live) -> str:
        await asyncio.sleep(2.0)
        live.calm()
        await live.until_right()
        live.simulation.scale_in("n2", returns=(1.0, 0.0, 1.0))
        await asyncio.sleep(5.0)
        live.service.stop()
        live.service.nodes = tuple(node for node in live.service.nodes if node.name != "n2")
        live.service.set_policy(POLICY)
        live.service.start()
        deadline = time.monotonic() + 4 * POLICY["tier_normal_seconds"]
        await live.until_right()
        while time.monotonic() < deadline:
            assert not (wrong := await live.wrong()), wrong
            await asyncio.sleep(0.5)
        false = [
            (uid, event["rule"])
            for uid in live.simulation.world.online()
            for event in await live.events(uid)
            if event.get("rule") == "node_retired" and event["status_after"] == "offline"
        ]
        assert not false, false[:3]
        return f"{len(live.simulation.world.online())} connected, none turned offline"

    return held(trial, check, rate=5.0, start_online=1.0)


@CHAPTER.case("8j", "the recordings of long lives after a restart, and of kicks with a token, are within their bounds")
def recordings(trial: Trial) -> str:
    """By the command, with polls."""
    over = {}
    for name, bounds in WITH_POLLS.bounds.items():
        if not has_reference(name):
            lines = lines_of(name)
            figures = figures_of([json.loads(line) for line in lines], _replay(trial, lines))
            if figures_over := missed(figures, bounds):
                over[name] = (figures_over, figures)
    assert not over, over
    return "all within, nobody wrong at the end"


@CHAPTER.case("2h", "two nodes of v3, a crowd of 80, some webhooks lost: late for a sixth of a second a user at most")
def crowd_of_v3(trial: Trial) -> str:
    """Where a look told of a connection without its node, the node's offline ends it."""
    late = 0.0
    for seed in (0, 2, 4):
        nodes = (NodePlan("n1"), NodePlan("n2"))
        faults: frozenset[Fault] = frozenset({"drop", "reorder"})
        plan = Plan(nodes=nodes, profile="v3", users=80, seconds=150.0, rate=3.0, seed=seed, faults=faults)
        recording = generate(plan, polls=True)
        lines = [json.dumps(line) for line in recording]
        late += figures_of(recording, _replay(trial, lines)).late
    assert late <= 3 * 80 / 6, f"{late:.1f} user-seconds late"
    return f"{late:.1f} user-seconds late in three runs of 150 s"


def _replay(trial: Trial, lines: Sequence[str]) -> dict[str, Any]:
    """What the command prints of a recording."""
    file = trial.folder / "recording.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    policy = [part for assignment in WITH_POLLS.policy for part in ("--policy", assignment)]
    result = CliRunner().invoke(app, ["replay", str(file), "--json", *policy])
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))
