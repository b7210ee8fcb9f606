"""What alerts are decided on, gathered: of a source by its state and its leader's note, of an instance by itself."""

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from ledger.alerting.gathering import GatheredFacts, facts
from ledger.alerting.instance_note import InstanceNote, OwnNotes, PostedCounts, counted
from ledger.alerting.source_facts import source_facts
from ledger.alerts.facts import DriftFacts, LossFacts, NodeFacts, NotifyFacts, StoreFacts
from ledger.domain.instants import to_text
from ledger.domain.mismatch import Mismatch
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState
from ledger.http.refusals import MAX_RECENT, UNKNOWN, Refusals
from ledger.http.senders import Senders
from ledger.settings import NodeSettings, SourceSettings
from ledger.settings.load import load
from ledger.sources.wukongim.answers import TOKEN_REFUSED
from ledger.working_state.sinks import SinkCheckpoint, SinkRow
from projections.engine.checkpoints import Checkpoint

AT = 1_800_000_000 * SECOND
URL = "http://127.0.0.1:5001"
SETTINGS = SourceSettings(
    "main", Profile.V2_2, (NodeSettings("n1", URL), NodeSettings("n2", URL, "secret"), NodeSettings("n3")), 900.0
)
NOTHING = PostedCounts({}, {})


def gathered(noted: dict[str, Any] | None = None, said: PostedCounts = NOTHING, **state: Any) -> Any:
    known, noted = SourceState("main", 1, **state), noted or {}
    lately = {"noted_at": to_text(AT - 15 * SECOND)}
    return source_facts(SETTINGS, known, noted | {"": lately | noted.get("", {})}, said, {}, {6.0: LossFacts(9, 1)}, AT)


def test_a_source_of_which_nothing_is_noted() -> None:
    found = gathered()
    assert [node.name for node in found.nodes] == ["n1", "n2", "n3"]
    assert (found.strangers, found.untold_users, found.counting_seconds, found.looks_tell) == (0, 0, 0.0, False)
    assert not any(node.failing or node.counts_tell for node in found.nodes)
    assert found.loss == {6.0: LossFacts(9, 1)}


def test_what_the_leading_instance_noted() -> None:
    mismatch = Mismatch("offlines come for each connection", 9, 10, (Profile.V2_2,))
    noted = {
        "": {
            "untold_users": 2,
            "untold_since": to_text(AT - 5),
            "listening_since": to_text(AT - 9),
            "strangers": 20,
            "strangers_since": to_text(AT - 3),
            "strangers_told": True,
            "profile_signs": {"n1": list(mismatch)},
            "profile_told": ["n2"],
            "recent": {
                "seconds": 60.0,
                "looked": 7,
                "drifts": [{"cause": "lost", "node": "", "boot": 0, "users": 3, "causes": {"gap": 3}}],
            },
        },
        "n1": {"failures_in_a_row": 2, "last_reason": "500", "probe_reason": None, "clock_offset_seconds": 7.5},
        "n2": {"failures_in_a_row": 0, "last_reason": "old", "probe_reason": TOKEN_REFUSED.reason},
    }
    found = gathered(
        noted,
        PostedCounts({("main", "n1"): 3}, {("main", "n3"): "n1"}, frozenset({("main", "n1")})),
        last_webhook_at=AT - 1,
        dark_since=AT - 2,
        node_profiles={"n1": Profile.V2_1},
        nodes={"n1": NodeState(down_since=AT - 4), "n2": NodeState(down_since=AT - 4, swept=False)},
    )
    assert (found.untold_users, found.untold_since, found.listening_since) == (2, AT - 5, AT - 9)
    assert (found.strangers, found.looks_tell, found.dark_since) == (20, True, AT - 2)
    assert (found.counting_seconds, found.looked) == (60.0, 7)
    assert found.drifts == [DriftFacts("lost", 3, causes={"gap": 3})]
    first, second, third = found.nodes
    assert first == NodeFacts(
        "n1", "v2.1", AT - 4, True, 2, "500", "good", mismatch, False, forbidden=3, clock_offset_seconds=7.5
    )  # fmt: skip
    assert (second.down_since, second.failing, second.reason, second.token, second.counts_tell) == (
        None, True, TOKEN_REFUSED.reason, "refused", True,
    )  # fmt: skip
    assert not third.posts_tell
    assert (third.posts_as_other, third.token, third.profile) == ("n1", "good", "v2.2")


def test_what_was_noted_long_ago_says_nothing_of_now() -> None:
    noted = {
        "": {
            "noted_at": to_text(AT - 16 * SECOND),
            "untold_users": 2,
            "untold_since": to_text(AT - 90 * SECOND),
            "strangers_told": True,
            "profile_told": ["n1"],
            "recent": {"seconds": 60.0, "looked": 7, "drifts": []},
        },
        "n1": {"failures_in_a_row": 2, "last_reason": TOKEN_REFUSED.reason, "clock_offset_seconds": 7.5},
    }
    found = gathered(noted)
    assert (found.is_led, found.untold_users, found.looks_tell, found.counting_seconds) == (False, 0, False, 0.0)
    first, _, third = found.nodes
    assert first == NodeFacts(
        "n1", "v2.2", failing=True, reason="no instance reconciles main since 2027-01-15T07:59:44.000000Z",
        counts_tell=False, posts_tell=False,
    )  # fmt: skip
    # Nobody asks it anyhow.
    assert not third.failing


def test_a_source_that_nobody_has_reconciled_yet() -> None:
    found = source_facts(SETTINGS, SourceState("main", 1), {}, NOTHING, {}, {}, AT)
    assert (found.is_led, [node.failing for node in found.nodes]) == (False, [False, False, False])


def test_strangers_count_while_webhooks_come() -> None:
    noted = {"": {"strangers": 20, "strangers_since": to_text(AT)}}
    assert gathered(noted, last_webhook_at=AT - 1).strangers == 0
    assert gathered(noted).strangers == 0


def test_a_node_without_a_token_that_wants_one() -> None:
    found = gathered({"n1": {"failures_in_a_row": 3, "last_reason": TOKEN_REFUSED.reason, "probe_reason": None}})
    assert found.nodes[0].token == "missing"


def test_nothing_is_said_of_the_api_of_a_node_that_is_asked_no_longer() -> None:
    noted = {"failures_in_a_row": 3, "last_reason": TOKEN_REFUSED.reason, "clock_offset_seconds": 7.5}
    (*_, node) = gathered({"n3": noted}).nodes
    assert node == NodeFacts("n3", "v2.2", counts_tell=False, posts_tell=False)


@pytest.fixture
def own(tmp_path: Path) -> OwnNotes:
    (tmp_path / "presence-ledger.toml").write_text(
        '[[sources]]\nname = "main"\nwebhook_secret = "long-enough"\n'
        + "".join(
            f'[[sources.nodes]]\nname = "n{number}"\napi_url = "http://127.0.0.{number}:5001"\n' for number in (1, 2)
        )
    )
    settings = load(folder=tmp_path, environ={})
    refusals, senders = Refusals({"main": ["n1", "n2"]}, CollectorRegistry()), Senders()
    refusals.forbid("main", "n1", "")
    refusals.forbid("main", "unknown", "")
    refusals.forbid("elsewhere", "n1", "")
    senders.note("main", "n1", "127.0.0.2")
    return OwnNotes(settings, refusals, senders, lambda resolve: resolve())


def test_what_an_instance_knows_of_itself_and_of_those_who_post(own: OwnNotes, tmp_path: Path) -> None:
    note = own.take(0.5, 100.0)
    assert (note.clock_offset_seconds, note.counting_seconds, own.take(None, 107.0).counting_seconds) == (0.5, 0.0, 7.0)
    assert note.free_bytes is None
    assert note.forbidden == {"main": {"n1": 1, UNKNOWN: 1}, UNKNOWN: {UNKNOWN: 1}}
    assert (note.posts_as_other, note.posted) == ({"main": {"n1": "n2"}}, {"main": ["n1"]})
    (tmp_path / "presence-ledger-data").mkdir()
    whole = own.take(None, 100.0)
    assert whole.free_bytes is not None
    assert 0 < whole.free_bytes <= whole.size_bytes


def test_while_addresses_are_not_known_nothing_is_said_of_who_posts(own: OwnNotes) -> None:
    for each in own._addresses.values():
        each._start = lambda _: None
    note = own.take(None, 100.0)
    assert (note.posts_as_other, note.posted) == ({}, {})


def test_what_all_instances_say_is_one() -> None:
    notes = [
        InstanceNote(
            host="a", forbidden={"main": {"n1": 2}}, posts_as_other={"main": {"n1": "n2"}}, posted={"main": ["n1"]}
        ),
        InstanceNote(host="b", forbidden={"main": {"n1": 3, "n2": 1}}),
    ]
    numbers, posted = {("main", "n1"): 5, ("main", "n2"): 1}, frozenset({("main", "n1")})
    assert counted(notes) == (numbers, {("main", "n1"): "n2"}, posted)


def test_refusals_of_the_last_while() -> None:
    now = 1000.0
    refusals = Refusals({"main": ["n1"]}, CollectorRegistry(), lambda: now)
    for _ in range(MAX_RECENT + 5):
        refusals.forbid("main", "n1", "")
    now = 1010.0
    refusals.forbid("main", "n1", "")
    assert refusals.recent(20.0) == {"main": {"n1": MAX_RECENT}}
    assert refusals.recent(5.0) == {"main": {"n1": 1}}
    refusals.forbid("main", "n9", "")
    refusals.forbid("mian", "n1", "")
    assert refusals.recent(5.0) == {"main": {"n1": 1, UNKNOWN: 1}, UNKNOWN: {UNKNOWN: 1}}


SINK = """
[[sinks]]
name = "app"
kind = "webhook"
url = "https://app.example"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""


def test_everything_that_was_read_is_in_the_facts(tmp_path: Path) -> None:
    (tmp_path / "presence-ledger.toml").write_text(SINK)
    settings = load(folder=tmp_path, environ={})
    checkpoints = [Checkpoint("drift", 5, 6, "UnknownKind", None, 9)]
    row = SinkRow("app", SinkCheckpoint("e", 0, 0, 0, 0), 0, None, None, 0, 1, None, AT, "503", AT)
    own = InstanceNote(host="a", counting_seconds=9.0)
    other = InstanceNote(host="b", counting_seconds=3.0)
    reading = GatheredFacts({"main": SourceState("main")}, {}, checkpoints, {"app": row}, [other], [])
    found = facts(settings, reading, own, [NotifyFacts("oncall")], None, AT)
    assert found.sources is not None
    assert [source.name for source in found.sources] == ["main"]
    assert found.projections == [("drift", 4, 6, "UnknownKind")]
    assert found.sinks == [("app", AT, "503", False)]
    assert (found.counting_seconds, [each.host for each in found.instances]) == (3.0, ["a", "b"])
    paused = reading._replace(sinks={"app": row._replace(paused_at=AT)}, states={})
    again = facts(settings, paused, own, [], None, AT)
    assert (again.sinks, again.sources, again.unreadable) == ([], [], ["main"])
    away = facts(settings, None, own, [], StoreFacts(AT, "refused"), AT)
    assert (away.sources, away.projections, away.sinks, away.store) == (None, None, None, StoreFacts(AT, "refused"))
