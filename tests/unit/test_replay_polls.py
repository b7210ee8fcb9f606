"""The polls of a recording as a world that can be asked: which answer counts, and what becomes of the others."""

from typing import Any

import pytest
from msgspec.structs import replace

from ledger.domain.policy import Policy
from tests.support.lines import connz, failed, poll, replay_of, replayed, varz, webhook

QUICK = Policy(tier_vip_seconds=5.0, tier_normal_seconds=5.0, tier_cold_seconds=5.0)


def action(t: float) -> dict[str, Any]:
    """A line that says nothing but how late it is."""
    return {"kind": "action", "t": t}


def polls(begin: int, end: int, rows: dict[str, int], asked: tuple[str, ...] = ("u",)) -> list[dict[str, Any]]:
    """An answer every second."""
    return [poll(float(t), rows, asked) for t in range(begin, end)]


def transitions(uid: str, *lines: dict[str, Any], **how: Any) -> list[tuple[float, str]]:
    return [*replayed(*lines, **how).users[uid].transitions]


def test_a_user_is_known_from_the_first_poll_that_names_him() -> None:
    result = replayed(*polls(1, 4, {"u": 1}))
    assert result.users["u"].transitions == [(1.0, "online")]
    assert (result.corrections, result.looks, dict(result.verdicts)) == (1, 1, {"corrected": 1})


def test_somebody_said_to_be_away_who_was_never_observed_is_no_correction_of_a_drift() -> None:
    result = replayed(*polls(1, 4, {}))
    assert result.users["u"].transitions == [(1.0, "offline")]
    assert (result.corrections, result.events) == (0, 1)


def test_webhooks_alone_never_look() -> None:
    result = replayed(webhook(1, "u-0-1-1-1-1"), *polls(2, 30, {}), polls=False)
    assert (result.looks, result.users["u"].status) == (0, "online")


def test_a_lost_offline_is_found_by_two_looks() -> None:
    lines = [webhook(0.5, "u-0-1-1-1-1"), *polls(1, 10, {"u": 1}), *polls(10, 30, {})]
    found = transitions("u", *lines, policy=QUICK)
    assert found[0] == (0.5, "online")
    assert found[1][1] == "offline"
    assert 13.0 <= found[1][0] <= 21.0
    assert len(found) == 2


def test_a_lost_online_is_found_by_one_look() -> None:
    lines = [webhook(0.5, "u-0-1-1-1-1"), webhook(1.5, "u-0-0-1-0-0"), *polls(2, 10, {}), *polls(10, 20, {"u": 1})]
    assert transitions("u", *lines, policy=QUICK)[2][0] <= 15.0


def test_an_answer_that_was_sent_for_before_a_webhook_says_nothing_about_it() -> None:
    """The question is taken to have been sent a tenth of a second before."""
    lines = [*polls(1, 4, {}), webhook(5.95, "u-0-1-1-1-1"), *polls(6, 7, {}), *polls(7, 12, {"u": 1})]
    assert transitions("u", *lines, policy=QUICK) == [(1.0, "offline"), (5.95, "online")]


@pytest.mark.parametrize(
    "lie",
    [
        {"status": 400, "body": '{"msg":"peer failed","status":400}'},
        {"status": 401, "body": ""},
        {"body": "<html></html>"},
        {"body": '[{"uid":"u"'},
        {"body": '{"status":200}'},
        {"error": "ReadTimeout", "status": 0, "body": ""},
        {"request": ["somebody else"]},
        {"route": "POST /user/other"},
        {"route": "GET /user/onlinestatus"},
    ],
)
def test_a_failed_or_odd_answer_changes_nothing(lie: dict[str, Any]) -> None:
    lines = [line | lie for line in polls(6, 40, {})]
    result = replayed(webhook(0.5, "u-0-1-1-1-1"), *polls(1, 6, {"u": 1}), *lines, policy=QUICK)
    assert result.users["u"].transitions == [(0.5, "online")]


def test_an_answer_that_comes_too_late_is_none() -> None:
    """The look that was due after 4.9 s has failed after 1.5 s, and comes again after four."""
    lines = [poll(1.0, {}), poll(7.5, {"u": 1}), poll(11.3, {"u": 1}), poll(11.5, {"u": 1})]
    assert transitions("u", *lines, policy=QUICK) == [(1.0, "offline"), (11.5, "online")]
    assert transitions("u", poll(1.0, {}), poll(7.4, {"u": 1}), policy=QUICK) == [(1.0, "offline"), (7.4, "online")]


# Probes, boots, passes.


def test_a_boot_ends_what_was_connected_before_it() -> None:
    lines = [varz(float(t), 100 + t) for t in range(1, 10)]
    lines += [failed(varz(10.0, 0)), failed(varz(11.0, 0))]
    lines += [varz(float(t), t - 12) for t in range(12, 20)]
    result = replayed(webhook(0.5, "u-0-1-1-1-1"), *lines)
    assert result.users["u"].transitions == [(0.5, "online"), (11.0, "unknown"), (12.0, "offline")]
    assert result.verdicts == {"opened": 1, "swept": 1}


def test_a_node_that_is_back_as_before_is_believed_again() -> None:
    lines = [varz(float(t), 100 + t) for t in range(1, 10)]
    lines += [failed(varz(10.0, 0)), failed(varz(11.0, 0)), varz(12.0, 112)]
    assert transitions("u", webhook(0.5, "u-0-1-1-1-1"), *lines) == [
        (0.5, "online"),
        (11.0, "unknown"),
        (12.0, "online"),
    ]


def test_v3_tells_its_boot_by_metrics() -> None:
    started = 1_800_000_000.5

    def metrics(t: float, start: float) -> dict[str, Any]:
        return varz(t, 0) | {"route": "GET /metrics", "body": f"process_start_time_seconds {started + start:.2f}\n"}

    lines = [metrics(float(t), -100.0) for t in range(1, 5)] + [metrics(float(t), 6.0) for t in range(7, 9)]
    meta = {"kind": "meta", "server": "v3", "started_at": started}
    assert transitions("u", webhook(0.5, "u-0-1-1-1-1"), *lines, meta=meta)[-1] == (7.0, "offline")


def two_nodes(*lines: dict[str, Any]) -> list[dict[str, Any]]:
    """Both nodes answer from the start, and alice is on n1, bo on n2; the webhooks come from n1 alike."""
    both = [webhook(0.2, "alice-0-1-1-1-1", "bo-0-1-1-1-1")]
    for t in range(1, 10):
        both += [varz(float(t), 100 + t), varz(float(t), 100 + t, "n2", "1002")]
        both.append(poll(t + 0.5, {"alice": 1, "bo": 1}, ("alice", "bo")))
    return [*both, *lines]


def down(begin: int, end: int) -> list[dict[str, Any]]:
    """n2 is gone; n1 answers, and remembers bo."""
    lines: list[dict[str, Any]] = []
    for t in range(begin, end):
        lines += [varz(float(t), 100 + t), failed(varz(t + 0.1, 0, "n2"))]
        lines.append(poll(t + 0.5, {}, ("alice", "bo"), status=400, body="{}"))
        lines.append(connz(t + 0.6, {"alice": 1}))
    return lines


def test_while_a_node_of_a_cluster_is_down_those_found_on_the_others_stay_online() -> None:
    result = replayed(*two_nodes(*down(10, 20)))
    assert result.users["alice"].status == "online"
    assert result.users["bo"].transitions[-1][1] == "unknown"


def test_after_its_boot_connections_of_all_nodes_tell_who_is_there() -> None:
    back: list[dict[str, Any]] = []
    for t in range(20, 30):
        back += [varz(float(t), 100 + t), varz(t + 0.1, t - 20, "n2", "1002")]
        back += [poll(t + 0.5, {"bo": 1}, ("alice", "bo"))]
        back += [connz(t + 0.6, {"alice": 1}), connz(t + 0.7, {"chi": 1}, "n2", 1002)]
    replay = replay_of(*two_nodes(*down(10, 20), *back))
    assert {uid: story.status for uid, story in replay.result.users.items()} == {
        "alice": "online",
        "bo": "offline",
        "chi": "online",
    }
    assert replay._draft.source("main").nodes["n2"].swept
    assert all(node.down_since is None for node in replay._draft.source("main").nodes.values())


def test_a_pass_that_is_not_answered_in_time_says_nothing() -> None:
    """n1 answers no `/connz`: nobody is judged, and n2's alone is given up."""
    lines = [line for line in down(10, 12) if "connz" not in line["route"]]
    late = [failed(connz(t + 0.6, {}), "ReadTimeout") for t in range(12, 30)]
    result = replayed(*two_nodes(*lines, *late, action(40.0)))
    assert {uid: story.status for uid, story in result.users.items()} == {"alice": "unknown", "bo": "unknown"}


# Darkness and the breaker.


def test_a_source_that_falls_silent_goes_dark_at_its_bound_and_speaks_again() -> None:
    """The look that is due after 4.9 s finds no answer, nor do those after it until the one of second 121.4."""
    lines = [webhook(0.5, "u-0-1-1-1-1"), *polls(1, 3, {"u": 1}), action(100.0), *polls(122, 125, {"u": 1})]
    shown = transitions("u", *lines, policy=replace(QUICK, dark_seconds=20.0))
    assert shown == [(0.5, "online"), (21.0, "unknown"), (122.0, "online")]


def test_a_webhook_lights_it_too() -> None:
    lines = [webhook(0.5, "u-0-1-1-1-1"), *polls(1, 2, {"u": 1}), action(100.0), webhook(120.0, "v-0-1-2-1-1")]
    assert transitions("u", *lines, policy=Policy(dark_seconds=20.0))[1:] == [(21.0, "unknown"), (120.0, "online")]


def test_a_bound_of_zero_never_goes_dark() -> None:
    lines = [webhook(0.5, "u-0-1-1-1-1"), *polls(1, 2, {"u": 1}), action(10_000.0)]
    assert transitions("u", *lines, policy=Policy(dark_seconds=0.0)) == [(0.5, "online")]


def test_nobody_is_turned_offline_while_all_are_said_to_be_for_a_while() -> None:
    uids = tuple(f"u{n}" for n in range(40))
    policy = Policy(tier_vip_seconds=5.0, tier_normal_seconds=5.0, breaker_hold_seconds=30.0)
    lines = [webhook(0.5, *(f"{uid}-0-1-{n}-1-1" for n, uid in enumerate(uids, 1)))]
    lines += polls(1, 20, dict.fromkeys(uids, 1), uids)
    lines += polls(20, 40, {}, uids)
    lines += polls(40, 80, dict.fromkeys(uids, 1), uids)
    result = replayed(*lines, policy=policy)
    assert {tuple(story.transitions) for story in result.users.values()} == {((0.5, "online"),)}


def test_a_mass_offline_that_lasts_is_believed_after_the_hold() -> None:
    uids = tuple(f"u{n}" for n in range(40))
    policy = Policy(tier_vip_seconds=5.0, tier_normal_seconds=5.0, breaker_hold_seconds=30.0)
    lines = [webhook(0.5, *(f"{uid}-0-1-{n}-1-1" for n, uid in enumerate(uids, 1)))]
    lines += polls(1, 20, dict.fromkeys(uids, 1), uids)
    lines += polls(20, 80, {}, uids)
    result = replayed(*lines, policy=policy)
    (turned,) = {story.transitions[1:][0] for story in result.users.values()}
    assert turned[1] == "offline"
    assert 50.0 <= turned[0] <= 58.0
