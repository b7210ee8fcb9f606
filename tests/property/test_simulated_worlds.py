"""Whole simulated worlds through the replay: every profile, any seed, any faults; without faults hardly ever wrong."""

import json
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.domain.events import WebhookObserved
from ledger.domain.observation import Instant
from ledger.domain.policy import Policy
from ledger.replay.recording import Replay, ReplayResult
from ledger.simulator.offline import generate
from ledger.simulator.plan import FAULTS, PROFILES, Fault, NodePlan, Plan, Profile
from ledger.simulator.recording import Line, dump
from ledger.sources.wukongim.recording import read_header, read_lines
from ledger.store.mapper import Recorded
from tests.support.recordings import score


def replayed(recording: list[Line]) -> tuple[ReplayResult, set[str | None]]:
    """The outcome, and the users whom the rules want looked at."""
    lines = [dump(line) for line in recording]
    header = read_header(lines[0])
    suspects = set()

    def listen(recorded: Recorded, _: Instant) -> None:
        if isinstance(recorded.event, WebhookObserved) and recorded.event.suspect is not None:
            suspects.add(recorded.uid)

    replay = Replay(header, Policy(), listen)
    for _ in replay.run(read_lines(lines[1:], header, None, all_deliveries=False, polls=False)):
        pass
    return replay.result, suspects


def items(recording: list[Line]) -> int:
    bodies = [line["body"] for line in recording if line["kind"] == "webhook"]
    return sum(len(json.loads(body)) for body in bodies)


@settings(max_examples=40)
@given(
    profile=st.sampled_from(PROFILES),
    seed=st.integers(0, 2**32),
    faults=st.frozensets(st.sampled_from(FAULTS)),
    nodes=st.integers(1, 2),
    users=st.integers(1, 40),
)
def test_any_world_is_replayed_whole(
    profile: Profile, seed: int, faults: frozenset[Fault], nodes: int, users: int
) -> None:
    names = [f"n{n}" for n in range(1, (1 if profile == "v1" else nodes) + 1)]
    plan = Plan(
        nodes=tuple(NodePlan(name) for name in names),
        profile=profile,
        users=users,
        seconds=40.0,
        rate=8.0,
        faults=faults,
        seed=seed,
    )
    recording = generate(plan)
    result, _ = replayed(recording)
    assert result.events + result.rejected == items(recording)
    assert sum(story.events for story in result.users.values()) == result.events
    for story in result.users.values():
        statuses = [status for _, status in story.transitions]
        assert all(one != next_one for one, next_one in pairwise(statuses))
        assert statuses[-1] == story.status


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32))
def test_without_faults_v1_shows_nobody_wrong_for_longer_than_the_way_takes(seed: int) -> None:
    recording = generate(Plan(profile="v1", users=30, seconds=60.0, rate=5.0, seed=seed))
    assert score(recording, replayed(recording)[0].as_dict()["users"])["late"] == 0.0


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32))
def test_without_faults_v3_shows_nobody_wrong_but_those_to_be_looked_at(seed: int) -> None:
    """A young connection that its node's last offline spared may have closed in silence: only a look can tell."""
    recording = generate(Plan(profile="v3", users=30, seconds=60.0, rate=5.0, seed=seed))
    result, looked_at = replayed(recording)
    others = [line for line in recording if line.get("uid") not in looked_at]
    assert len(looked_at) < 30
    assert score(others, result.as_dict()["users"])["late"] == 0.0
