"""Checks what the log says of things that happen often, and of those that last."""

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from ledger.http.outages import Outages
from ledger.http.refusals import UNKNOWN, Refusals, WhyDenied, WhyForbidden
from ledger.repeated_logs import LOG_INTERVAL_SECONDS, MAX_REASONS, MIN_QUIET_SECONDS, LoggedOutage, LogThrottle


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="said")
def _said() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged, line by line."""
    with capture_logs() as lines:
        yield lines


Said = list[MutableMapping[str, Any]]


def test_each_key_is_due_once_in_a_while_with_its_number() -> None:
    clock = Clock()
    throttle = LogThrottle(clock=clock)
    assert [throttle.due("a"), throttle.due("a"), throttle.due("b"), throttle.due("a")] == [1, 0, 1, 0]
    clock.now += LOG_INTERVAL_SECONDS
    assert [throttle.due("a"), throttle.due("a"), throttle.due("b")] == [3, 0, 1]


def test_a_trouble_is_said_when_it_begins_and_when_it_ends(said: Said) -> None:
    clock = Clock()
    trouble = LoggedOutage("away", "back", clock, concerns="x")
    trouble.succeeded()
    assert said == []
    for reason in ("refused", "refused", "full", "refused"):
        trouble.failed(reason)
        clock.now += 1.0
    trouble.succeeded()  # one part works, a moment after another failed
    assert [(each["event"], each["reason"], each["concerns"]) for each in said] == [
        ("away", "refused", "x"),
        ("away", "full", "x"),
    ]
    clock.now += MIN_QUIET_SECONDS
    trouble.succeeded()
    trouble.succeeded()
    [ended] = said[2:]
    assert (ended["event"], ended["times"], ended["seconds"]) == ("back", 4, 4.0 + MIN_QUIET_SECONDS)
    trouble.failed("refused")
    assert [each["event"] for each in said[3:]] == ["away"]


def test_reasons_that_differ_each_time_are_not_said_without_end(said: Said) -> None:
    trouble = LoggedOutage("away", "back")
    for number in range(100):
        trouble.failed(f"connection {number}")
    assert len(said) == MAX_REASONS


def test_outages_of_webhooks_and_of_questions_are_told_apart() -> None:
    outages = Outages.none_yet()
    assert outages.for_path("/hooks/main/n1/secret") is outages.webhooks
    assert outages.for_path("/v1/presence") is outages.questions


def test_refused_webhooks_are_counted_by_names_of_the_settings_alone(said: Said) -> None:
    registry = CollectorRegistry()
    refusals = Refusals({"main": ["n1"], "other": ["n1"]}, registry, Clock())
    for source, node in [("main", "n1"), ("main", "n1"), ("main", "n9"), ("nowhere", "n1"), ("elsewhere", "n2")]:
        refusals.forbid(source, node, "192.0.2.1")
    found = {(each.node, each.reason): each.number for each in refusals.from_source("main")}
    assert found == {("n1", WhyForbidden.SECRET): 2, (UNKNOWN, WhyForbidden.NODE): 1}
    assert [(each.node, each.number) for each in refusals.from_source(UNKNOWN)] == [(UNKNOWN, 2)]
    assert refusals.from_source("other") == []
    assert refusals.number() == 5
    labels = {"source": "main", "node": "n1", "reason": "wrong_secret"}
    assert registry.get_sample_value("presence_ledger_webhooks_forbidden_total", labels) == 2
    assert [(each["source"], each["node"], each["reason"]) for each in said] == [
        ("main", "n1", "wrong_secret"),
        ("main", UNKNOWN, "unknown_node"),
        (UNKNOWN, UNKNOWN, "unknown_source"),
    ]
    assert {each["client"] for each in said} == {"192.0.2.1"}


def test_denied_requests_are_counted_by_reason(said: Said) -> None:
    registry = CollectorRegistry()
    refusals = Refusals({}, registry)
    for reason in (WhyDenied.NO_KEY, WhyDenied.NO_KEY, WhyDenied.SCOPE):
        refusals.deny(reason, "")
    assert registry.get_sample_value("presence_ledger_requests_denied_total", {"reason": "no_key"}) == 2
    assert [each["reason"] for each in said] == ["no_key", "scope_missing"]
