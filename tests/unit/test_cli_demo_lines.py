"""What the demo says of events: webhooks in full, and events of kinds it does not know in a readable way."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ledger.cli.demo_lines import UID_WIDTH, Story
from ledger.client import AsOf, Presence, Previous

AT = {"recorded_at": "2026-11-23T12:34:56.789012Z"}


def told(*events: dict[str, Any]) -> tuple[list[str], Story]:
    lines: list[str] = []
    story = Story(lines.append)
    for event in events:
        story.tell({**AT, **event})
    return lines, story


def observed(**more: Any) -> dict[str, Any]:
    return {
        "kind": "webhook_observed",
        "uid": "alice",
        "verdict": "opened",
        "rule": "online_new",
        "device_flag": 1,
        "status_before": "offline",
        "status_after": "online",
        "swept": [],
        "implied": 0,
        "implied_elsewhere": 0,
        **more,
    }


def test_a_webhooks_line_has_the_change_and_its_rule() -> None:
    (line,), story = told(observed())
    assert line.split() == ["12:34:56.789", "alice", "device", "1", "opened", "offline", "->", "online", "online_new"]
    assert story.counts()["events"] == 1


def test_a_long_uid_is_whole_unless_lines_must_not_break() -> None:
    uid = "customer-4711@region-eu-central-1"
    (line,), _ = told(observed(uid=uid))
    assert f"  {uid}  device 1" in line
    lines: list[str] = []
    Story(lines.append, UID_WIDTH).tell({**AT, **observed(uid=uid)})
    assert "  customer-4711@region-eu…  device 1" in lines[0]


def test_what_others_named_steers_no_terminal() -> None:
    lines, _ = told(
        {"kind": "delivery_received", "repeats": None, "node": "n\x9b1", "items": 2},
        {"kind": "item_rejected", "reason": "\x1b]0;x\x07"},
        observed(uid="\u202e"),
        {"kind": "poll_observed", "node": "\x9b", "run": "\x1b", "reason": "\x07"},
    )
    assert all(line.isprintable() for line in lines)


def test_what_a_webhook_proves_is_said() -> None:
    (line,), _ = told(observed(verdict="closed", swept=[1, 2], implied=1))
    assert line.endswith("online_new, 2 more swept, its count proves a lost webhook")


def test_deliveries_are_counted_and_said_when_repeated() -> None:
    plain = {"kind": "delivery_received", "repeats": None, "node": "n1", "items": 2}
    lines, story = told(
        plain,
        {**plain, "delivery": "dlv-abcdef", "repeats": "dlv-012345"},
        {"kind": "item_rejected", "reason": "no claim"},
    )
    assert [line[14:] for line in lines] == [
        "** delivery abcdef repeats 012345: the same 2 items again",
        "** rejected, kept raw: no claim",
    ]
    counts = story.counts()
    assert (counts["deliveries"], counts["repeated"], counts["rejected"]) == (2, 1, 1)


def test_a_correction_is_told_and_counted() -> None:
    event = {
        "kind": "corrected",
        "uid": "bob",
        "verdict": "corrected",
        "rule": "poll_ghost",
        "status_before": "online",
        "status_after": "offline",
    }
    (line,), story = told(event)
    assert line.split() == ["12:34:56.789", "bob", "corrected", "online", "->", "offline", "poll_ghost"]
    assert story.counts()["corrected"] == 1
    assert "1 corrected" in story.summary()


def test_an_event_of_a_user_with_nothing_but_its_kind_is_told() -> None:
    lines, story = told({"kind": "tier_set", "uid": "bob"}, {"kind": "swept", "uid": "bob", "verdict": "swept"})
    assert [line.split()[1:] for line in lines] == [["bob", "tier", "set", "tier", "set"], ["bob", "swept", "swept"]]
    assert story.counts()["events"] == 2


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"kind": "service_started", "uid": None}, "-- service started"),
        ({"kind": "node_down", "node": "n1"}, "-- node down of n1"),
        ({"kind": "breaker_opened", "reason": "31 of 100"}, "-- breaker opened, 31 of 100"),
        ({"kind": "run_ended", "run": "r7", "node": "n1"}, "-- run ended of n1, r7"),
        ({"kind": "source_dark", "cause": "silence\x1b[2J"}, "-- source dark, silence\\x1b[2J"),
    ],
)
def test_events_of_a_source_are_told_whatever_they_are(event: dict[str, Any], line: str) -> None:
    (found,), story = told(event)
    assert found[14:] == line
    assert story.counts()["events"] == 0


def test_a_change_that_the_stream_tells_has_a_line() -> None:
    lines: list[str] = []
    story = Story(lines.append)
    at = datetime(2026, 11, 23, 12, 34, 56, 789012, UTC)
    story.tell_change(
        Presence(
            uid="a\x1bb", status="offline", previous=Previous("online", None), as_of=AsOf(position=7, at=at, epoch="e")
        )
    )
    assert lines[0].startswith("12:34:56.789  ")
    assert lines[0].endswith(">> told by the stream: online -> offline")
    assert lines[0].isprintable()
    assert (story.counts()["told"], story.counts()["forwarded"]) == (1, 0)
