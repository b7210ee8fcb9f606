"""The rules of alerts: which figures make which condition, and that no more than that does."""

from typing import Any

import pytest

from ledger.alerts.condition import Condition, Key
from ledger.alerts.definitions import BY_NAME, DEFINITIONS
from ledger.alerts.facts import (
    AlertFacts,
    CanaryFacts,
    DriftFacts,
    InstanceFacts,
    LossFacts,
    NodeFacts,
    NotifyFacts,
    ProjectionFacts,
    SinkFacts,
    SourceFacts,
    StoreFacts,
)
from ledger.alerts.rules import LEADER_TELLS, RULES, conditions
from ledger.alerts.thresholds import Thresholds, defaults
from ledger.alerts.words import BECAUSE, told
from ledger.domain.alert_events import SERVICE
from ledger.domain.mismatch import Mismatch
from ledger.domain.observation import SECOND
from ledger.domain.profile import Profile
from ledger.languages import Language

AT = 1_800_000_000 * SECOND


def node(**figures: Any) -> AlertFacts:
    return source(nodes=[NodeFacts("n1", "v2.2", **figures)])


def source(**figures: Any) -> AlertFacts:
    quiet: dict[str, Any] = {"loss": {}}
    return AlertFacts(AT, sources=[SourceFacts("main", **(quiet | figures))], projections=(), sinks=())


def service(**figures: Any) -> AlertFacts:
    return source()._replace(**figures)


def ago(seconds: float) -> int:
    return AT - round(seconds * SECOND)


def lost(share: float, short: float | None = None) -> dict[float, LossFacts]:
    long, brief = LossFacts(10_000, round(10_000 * share)), LossFacts(1_000, round(1_000 * (short or share)))
    return {21_600.0: long, 1_800.0: brief, 259_200.0: long}


NEARLY = {21_600.0: LossFacts(10_000, 55), 1_800.0: LossFacts(1_000, 20), 259_200.0: LossFacts(100_000, 50)}
"""Short of both pairs: six times the budget of a thousandth, and once."""


MISMATCH = Mismatch("offlines come for each connection", 9, 10, (Profile.V2_2, Profile.V1))

HOLDING: dict[str, tuple[AlertFacts, Key]] = {
    "drift_rate": (source(looked=1000, drifts=[DriftFacts("lost", 50)]), Key("drift_rate", "main")),
    "webhook_loss_budget": (source(loss=lost(0.01)), Key("webhook_loss_budget", "main")),
    "webhooks_silent": (source(untold_users=2, untold_since=ago(61)), Key("webhooks_silent", "main")),
    "query_api_failing": (node(failing=True, failures=3, reason="500"), Key("query_api_failing", "main", "n1")),
    "source_dark": (source(dark_since=ago(9)), Key("source_dark", "main")),
    "node_down": (node(down_since=ago(9)), Key("node_down", "main", "n1")),
    "breaker_open": (source(breaker_until=AT + 1), Key("breaker_open", "main")),
    "canary_late": (node(canary=CanaryFacts(ago(181), "no webhook")), Key("canary_late", "main", "n1")),
    "projection_stopped": (
        service(projections=[ProjectionFacts("drift", 5, 41, "UnknownKind")]),
        Key("projection_stopped", subject="drift"),
    ),
    "projection_lagging": (
        service(projections=[ProjectionFacts("drift", 100_000)]),
        Key("projection_lagging", subject="drift"),
    ),
    "sink_failing": (service(sinks=[SinkFacts("app", ago(601), "503")]), Key("sink_failing", subject="app")),
    "store_unavailable": (service(store=StoreFacts(ago(3), "refused")), Key("store_unavailable")),
    "spool_growing": (
        service(instances=[InstanceFacts("host", spool_bytes=501, spool_max_bytes=1_000)]),
        Key("spool_growing", subject="host"),
    ),
    "archive_failing": (
        service(instances=[InstanceFacts("host", archive_failing_since=ago(1), archive_reason="full")]),
        Key("archive_failing", subject="host"),
    ),
    "disk_low": (
        service(instances=[InstanceFacts("host", "/data", 5_000, 100_000)]),
        Key("disk_low", subject="host"),
    ),
    "notify_failing": (
        service(notify=[NotifyFacts("oncall", ago(121), "401", 2)]),
        Key("notify_failing", subject="oncall"),
    ),
    "profile_mismatch": (node(mismatch=MISMATCH), Key("profile_mismatch", "main", "n1")),
    "webhook_secret_unknown": (node(forbidden=3), Key("webhook_secret_unknown", "main", "n1")),
    "wrong_cluster": (source(strangers=20), Key("wrong_cluster", "main")),
    "token_missing": (node(token="missing"), Key("token_missing", "main", "n1")),
    "clock_skew": (
        service(instances=[InstanceFacts("host", clock_offset_seconds=-1.5)]),
        Key("clock_skew", subject="host"),
    ),
}

JUST_NOT: dict[str, list[AlertFacts]] = {
    "drift_rate": [
        source(looked=10_000, drifts=[DriftFacts("lost", 50)]),
        source(looked=20, drifts=[DriftFacts("lost", 19)]),
    ],
    "webhook_loss_budget": [source(loss=NEARLY), source(loss=lost(0.0009)), source(loss={})],
    "webhooks_silent": [
        source(untold_users=2, untold_since=ago(59)),
        source(untold_users=1, untold_since=ago(61)),
        node(untold_users=2, untold_since=ago(59)),
        source(),
    ],
    "query_api_failing": [
        node(failures=3),
        node(failing=True, down_since=ago(9)),
        node(failing=True, token="refused"),
    ],
    "canary_late": [
        node(canary=CanaryFacts(ago(179), "")),
        node(canary=CanaryFacts(ago(1799), "", every_seconds=600.0)),
    ],
    "projection_stopped": [service(projections=[ProjectionFacts("drift", 1_000_000)])],
    "projection_lagging": [
        service(projections=[ProjectionFacts("drift", 99_999)]),
        service(projections=[ProjectionFacts("drift", 1_000_000, 41)]),
    ],
    "sink_failing": [service(sinks=[SinkFacts("app", ago(599), "503"), SinkFacts("other")])],
    "spool_growing": [
        service(instances=[InstanceFacts("host", spool_bytes=499, spool_max_bytes=1_000)]),
        service(instances=[InstanceFacts("host", spool_bytes=499)]),
    ],
    "archive_failing": [
        service(instances=[InstanceFacts("host", archive_failing_since=ago(10_799), archive_waits=True)]),
        service(instances=[InstanceFacts("host")]),
    ],
    "disk_low": [
        service(instances=[InstanceFacts("host", "/data", 1 << 31, 10 << 30)]),
        service(instances=[InstanceFacts("host")]),
    ],
    "notify_failing": [service(notify=[NotifyFacts("oncall", ago(119)), NotifyFacts("other")])],
    "webhook_secret_unknown": [node(forbidden=2), source(forbidden=2), service(forbidden=2)],
    "wrong_cluster": [source(strangers=19)],
    "clock_skew": [service(instances=[InstanceFacts("host", clock_offset_seconds=0.9)])],
}


def holding(facts: AlertFacts, thresholds: Thresholds | None = None) -> list[Condition]:
    return [each for each in conditions(facts, thresholds or Thresholds()).conditions if each.known_level >= 1]


def test_every_alert_has_a_rule() -> None:
    assert RULES.keys() == BY_NAME.keys() == HOLDING.keys()


@pytest.mark.parametrize("name", HOLDING)
def test_it_holds_alone(name: str) -> None:
    facts, key = HOLDING[name]
    assert [each.key for each in holding(facts)] == [key]


@pytest.mark.parametrize(("name", "facts"), [(name, each) for name, all_ in JUST_NOT.items() for each in all_])
def test_it_does_not_quite_hold(name: str, facts: AlertFacts) -> None:
    assert name not in {each.key.name for each in holding(facts)}


@pytest.mark.parametrize("name", HOLDING)
def test_it_is_off_by_the_settings(name: str) -> None:
    assert holding(HOLDING[name][0], Thresholds(off=(name,))) == []


@pytest.mark.parametrize("name", HOLDING)
def test_it_is_told_in_both_languages(name: str) -> None:
    facts, key = HOLDING[name]
    [condition] = holding(facts)
    languages: tuple[Language, ...] = ("en", "zh")
    for language in languages:
        words = told(BY_NAME[name], key.source, key.subject, condition.figures, language)
        for text in words:
            assert "{" not in text
        assert "?" not in words.summary


def test_nothing_is_known_of_sources_while_the_store_is_away() -> None:
    found = conditions(AlertFacts(AT, store=StoreFacts(ago(3), "refused")), Thresholds())
    assert [each.key.name for each in found.conditions] == ["store_unavailable"]
    told_always = {"store_unavailable", "spool_growing", "archive_failing", "disk_low", "clock_skew"}
    told_always |= {"notify_failing"}
    assert found.unknown == BY_NAME.keys() - told_always


def test_loss_that_is_not_measured_is_not_known() -> None:
    assert conditions(source(loss=None), Thresholds()).unknown == {"webhook_loss_budget"}


def test_what_a_restart_did_is_an_incident_of_its_own() -> None:
    drifts = [DriftFacts("restart", 80_000, "n1", 41), DriftFacts("lost", 2000, causes={"gap": 1990, "sender": 10})]
    found = holding(source(looked=90_000, drifts=drifts))
    assert [each.key for each in found] == [
        Key("drift_rate", "main", "n1", "boot 41"),
        Key("drift_rate", "main", "", ""),
    ]
    summary = told(BY_NAME["drift_rate"], "main", "n1", found[0].figures, "en").summary
    assert (
        summary
        == "80,000 users of main were shown wrongly within 10 min (88.9 % of those looked at): node n1 restarted"
    )


def test_a_node_that_posts_no_more_is_told_of_where_the_others_go_on() -> None:
    silent = NodeFacts("n1", untold_users=2, untold_since=ago(61), last_webhook_at=ago(90))
    [found] = holding(source(nodes=[silent, NodeFacts("n2")]))
    assert found.key == Key("webhooks_silent", "main", "n1")
    summary = told(BY_NAME["webhooks_silent"], "main", "n1", found.figures, "en").summary
    assert summary.startswith("Webhooks of main have stopped (none of n1, while those of others come)")


def test_names_that_the_settings_do_not_have_are_told_of_like_secrets() -> None:
    [found] = holding(source(forbidden=3))
    assert found.key == Key("webhook_secret_unknown", "main")
    summary = told(BY_NAME["webhook_secret_unknown"], "main", "", found.figures, "en").summary
    assert summary == "3 webhooks were refused within 5 min: main has no node of that name"
    [found] = holding(service(forbidden=3, sources=[]))
    assert found.key == Key("webhook_secret_unknown", SERVICE)
    summary = told(BY_NAME["webhook_secret_unknown"], SERVICE, "", found.figures, "zh").summary
    assert summary == "5 分钟内有 3 次 webhook 被拒绝：没有该名称的来源"


@pytest.mark.parametrize(
    ("name", "facts", "unknown"),
    [
        ("webhooks_silent", source(listening_since=ago(5)), True),
        ("webhooks_silent", source(listening_since=ago(5), last_webhook_at=ago(9)), True),
        ("webhooks_silent", source(listening_since=ago(5), last_webhook_at=ago(1)), False),
        ("profile_mismatch", node(counts_tell=False), True),
        ("profile_mismatch", node(), False),
        ("wrong_cluster", source(looks_tell=False), True),
        ("wrong_cluster", source(), False),
        ("notify_failing", service(notify=[NotifyFacts("oncall", tells=False)]), True),
        ("notify_failing", service(notify=[NotifyFacts("oncall")]), False),
    ],
)
def test_an_instance_that_has_just_begun_does_not_know_that_it_is_over(
    name: str, facts: AlertFacts, unknown: bool
) -> None:
    [found] = [each for each in conditions(facts, Thresholds()).conditions if each.key.name == name]
    assert (found.level is None) == unknown


def test_a_node_that_has_not_posted_yet_is_not_known_to_post_rightly() -> None:
    for tells, level in ((False, None), (True, 0.0)):
        found = {each.key: each.level for each in conditions(node(posts_tell=tells), Thresholds()).conditions}
        assert found[Key("wrong_cluster", "main", "n1", "posts_as_other")] == level
        # Where its address leads needs no post.
        assert found[Key("wrong_cluster", "main", "n1", "same_server")] == 0.0


def test_what_is_counted_in_a_window_is_not_over_before_that_was_seen() -> None:
    begun = source(counting_seconds=599.0, drifts=[DriftFacts("lost", 1)])._replace(counting_seconds=299.0)
    assert conditions(begun, Thresholds()).unknown == {("drift_rate", "main"), "webhook_secret_unknown"}
    long_ago = source(counting_seconds=600.0)._replace(counting_seconds=300.0)
    assert conditions(long_ago, Thresholds()).unknown == frozenset()


def test_of_a_source_that_cannot_be_read_nothing_is_over() -> None:
    found = conditions(source()._replace(sources=[], unreadable=["main"]), Thresholds())
    assert found.unknown == {(name, "main") for name in BY_NAME}


def test_of_a_source_that_nobody_reconciles_nothing_is_over_that_its_leader_tells() -> None:
    other = SourceFacts("other", loss={})
    facts = source(is_led=False)
    found = conditions(facts._replace(sources=[*(facts.sources or ()), other]), Thresholds())
    assert found.unknown == {(name, "main") for name in LEADER_TELLS}


def test_a_sink_whose_receiver_wants_no_more_fails_at_once() -> None:
    [found] = holding(service(sinks=[SinkFacts("app", ago(1), "410", is_stopped=True)]))
    assert found.key == Key("sink_failing", subject="app")


def test_of_several_instances_on_a_machine_the_worst_counts() -> None:
    disks = [InstanceFacts("host", f"/{free}", free, 100_000) for free in (9_000, 100, 5_000)]
    [found] = holding(service(instances=disks))
    assert (found.figures["folder"], found.key) == ("/100", Key("disk_low", subject="host"))


def test_a_nodes_clock_is_told_of_its_source() -> None:
    [found] = holding(node(clock_offset_seconds=7.25))
    assert found.key == Key("clock_skew", "main", "n1")
    words = told(BY_NAME["clock_skew"], "main", "n1", found.figures, "en")
    assert words.summary == "The clocks of n1 and of this service differ by 7.25 s"


def test_the_settings_of_two_nodes_lead_to_one_server() -> None:
    same = NodeFacts("n1", same_server_as="n2"), NodeFacts("n2", same_server_as="n1", posts_as_other="n1")
    assert {(each.key.subject, each.key.incident) for each in holding(source(nodes=same))} == {
        ("n1", "same_server"), ("n2", "same_server"), ("n2", "posts_as_other"),
    }  # fmt: skip
    [posts] = holding(node(posts_as_other="n2"))
    assert posts.figures["why"] == "posts_as_other"


def test_thresholds_of_nothing_hold_at_the_first_sign() -> None:
    numbers = defaults() | {"webhook_secret_unknown_deliveries": 0.0, "drift_rate_share": 0.0, "drift_rate_users": 0.0}
    thresholds = Thresholds(numbers=numbers)
    assert holding(node(forbidden=1), thresholds)
    assert holding(source(looked=0, drifts=[DriftFacts("lost", 1)]), thresholds)
    assert not holding(source(looked=9, drifts=[DriftFacts("lost", 0)]), thresholds)


@pytest.mark.parametrize(
    ("name", "figures", "summary"),
    [
        ("disk_low", {"free_bytes": 512, "size_bytes": 3 << 30, "folder": "/d"}, "512 B of 3.0 GiB are free for /d"),
        ("webhooks_silent", {"users": 2, "last_webhook_at": ""}, "从未"),
        ("node_down", {}, "has not answered since ?"),
        ("webhook_secret_unknown", {"deliveries": 3, "window_seconds": 90.5}, "refused within 90.5 s"),
        ("webhook_secret_unknown", {"deliveries": 3, "window_seconds": 7200}, "2 小时内"),
    ],
)  # fmt: skip
def test_figures_are_written_for_people(name: str, figures: dict[str, Any], summary: str) -> None:
    language: Language = "zh" if any("一" <= mark <= "鿿" for mark in summary) else "en"
    source_name = "main" if BY_NAME[name].of_source else SERVICE
    assert summary in told(BY_NAME[name], source_name, "x", figures, language).summary


def test_every_cause_of_the_rules_has_words() -> None:
    codes = {"drift_restart", "drift_node", "drift_lost", "strangers", "same_server", "posts_as_other"}
    assert codes | {"token_missing", "token_refused"} <= BECAUSE.keys()
    assert len(DEFINITIONS) == 21
