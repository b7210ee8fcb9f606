"""Telling one receiver: in order, again with growing pauses where it is away, bounded; no secret in what is said."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from ledger.alerting.apprise_sender import Apprise, notifier_of, without_secrets
from ledger.alerting.notices import Notice, What, notice, reaches
from ledger.alerting.notifier import MAX_WAITING, Notifier
from ledger.alerting.telling import Notifiers
from ledger.alerts.definitions import BY_NAME
from ledger.domain.observation import SECOND
from ledger.settings import NotifySettings
from ledger.working_state.alerts import AlertRow
from tests.support.notices import receiver
from tests.support.service import wait_for

AT = 1_800_000_000 * SECOND
ROW = AlertRow(
    "a1", 41, "node_down", "critical", "main", "n1", "", AT, AT - 5 * SECOND, {"down_since_at": "2027-01-15T07:59:55Z"}
)  # fmt: skip


class Line:
    """A notifier whose receiver is there or not."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, What]] = []
        self.told: list[tuple[str, What, int]] = []
        self.away = 0
        """So many attempts fail."""
        self.refused = ""
        """A notice of this alert is never taken."""
        self.trying = False
        self.held = threading.Event()
        self.held.set()
        self.notifier = Notifier("oncall", self.send, lambda *told: self.told.append(told), lambda: AT, 0.001)

    def send(self, notice: Notice) -> str | None:
        self.trying = True
        self.held.wait()
        if self.away:
            self.away -= 1
            return "503"
        if notice.alert == self.refused:
            return "400"
        self.sent.append((notice.alert, notice.what))
        return None


@contextmanager
def line() -> Iterator[Line]:
    found = Line()
    found.notifier.start()
    try:
        yield found
    finally:
        found.held.set()
        found.notifier.stop()
        found.notifier.join(60)


def some(alert: str = "a1", what: What = "began") -> Notice:
    return Notice(alert, what, "title", "body", "failure")


def test_notices_are_told_in_order_and_once() -> None:
    with line() as found:
        for alert in ("a1", "a2", "a1"):
            assert found.notifier.put(some(alert))
        wait_for(lambda: len(found.told) == 2)
    assert found.sent == [("a1", "began"), ("a2", "began")]
    assert found.told == [("a1", "began", AT), ("a2", "began", AT)]


def test_a_receiver_that_is_away_is_told_once_it_is_back() -> None:
    with line() as found, capture_logs() as logs:
        found.away = 3
        found.notifier.put(some())
        wait_for(lambda: found.told)
    assert [each["event"] for each in logs] == ["notify_failed", "notify_works_again"]
    assert (found.notifier.failing_since, found.notifier.reason, found.notifier.has_told) == (None, "", True)


def test_while_it_fails_it_says_since_when_and_why() -> None:
    with line() as found:
        found.away = 10**9
        found.notifier.put(some())
        wait_for(lambda: found.notifier.failing_since)
        assert (found.notifier.failing_since, found.notifier.reason, found.notifier.waiting) == (AT, "503", 1)
        found.notifier.withdraw("a1", "began")
        wait_for(lambda: found.notifier.failing_since is None)
        found.away = 0
        found.notifier.put(some("a2"))
        wait_for(lambda: found.told)
    assert found.sent == [("a2", "began")]


def test_one_that_is_always_refused_does_not_hold_up_the_others() -> None:
    with line() as found:
        found.refused = "a1"
        for alert in ("a1", "a2", "a3"):
            found.notifier.put(some(alert))
        wait_for(lambda: len(found.told) == 2)
        wait_for(lambda: found.notifier.failing_since)
        assert (found.notifier.waiting, found.notifier.reason) == (1, "400")
        found.notifier.withdraw_others({"a2"})
        wait_for(lambda: found.notifier.failing_since is None)
        assert found.notifier.waiting == 0
    assert found.sent == [("a2", "began"), ("a3", "began")]


def test_what_finds_no_room_behind_the_others_is_asked_for_again() -> None:
    with line() as found:
        found.refused = "a1"
        found.held.clear()
        found.notifier.put(some("a1"))
        # It is being tried, and the others fill the queue.
        wait_for(lambda: found.trying)
        for number in range(MAX_WAITING):
            found.notifier.put(some(str(number)))
        found.held.set()
        wait_for(lambda: len(found.told) == MAX_WAITING)
        wait_for(lambda: not found.notifier.waiting)
        found.refused = ""
        assert found.notifier.put(some("a1"))
        wait_for(lambda: len(found.told) == MAX_WAITING + 1)


def test_nobody_is_told_of_an_alert_that_is_no_longer_known() -> None:
    entry = NotifySettings("oncall", "json://127.0.0.1:1")

    async def go() -> None:
        telling = Notifiers([entry], lambda *_: found.notifier, lambda: AT, lambda: None)
        telling.tell([ROW])
        assert found.notifier.waiting == 1
        telling.tell([])
        assert found.notifier.waiting == 0

    with line() as found:
        found.held.clear()
        asyncio.run(go())


def test_no_more_wait_than_a_bound_and_all_can_be_withdrawn() -> None:
    with line() as found:
        found.held.clear()
        taken = [found.notifier.put(some(str(number))) for number in range(MAX_WAITING + 5)]
        assert taken[:MAX_WAITING] == [True] * MAX_WAITING
        assert not taken[-1]
        found.notifier.withdraw_all()
        assert found.notifier.waiting == 0
        found.held.set()
    assert len(found.sent) <= 1


def test_apprise_tells_a_receiver_and_says_why_not() -> None:
    told: list[Any] = []
    with receiver(there=False) as oncall:
        settings = NotifySettings("oncall", oncall.url)
        apprise = Apprise(settings)
        assert apprise(some()) == "A Connection error occurred sending JSON notification to ***."
        oncall.come()
        assert apprise(some()) is None
        assert (oncall.taken[0]["title"], oncall.taken[0]["message"], oncall.taken[0]["type"]) == (
            "title", "body", "failure",
        )  # fmt: skip
        notifier = notifier_of(settings, lambda *each: told.append(each), lambda: AT)
        notifier.start()
        notifier.put(some())
        wait_for(lambda: told)
        notifier.stop()
        notifier.join(60)
    assert Apprise(NotifySettings("oncall", "foo://x"))(some()) == "its address cannot be read"


def test_whatever_a_service_of_apprise_raises_is_a_failure() -> None:
    apprise = Apprise(NotifySettings("oncall", "json://127.0.0.1:1"))

    class Broken:
        def notify(self, **_: object) -> bool:
            raise RuntimeError("with a secret")

    apprise._service = Broken()
    assert apprise(some()) == "it could not be sent (RuntimeError)"

    class Mute:
        def notify(self, **_: object) -> bool:
            return False

    apprise._service = Mute()
    assert apprise(some()) == "it was not taken"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sent to https://oapi.example/robot/send?access_token=abcdef123", "sent to https://oapi.example/robot/send?access_token=***"),
        ("user bob%40x, password p@ss", "user ***, password ***"),
        ("x" * 300, "x" * 199 + "…"),
        ("a\u202eb", "a\\u202eb"),
    ],
)  # fmt: skip
def test_no_part_of_an_address_is_shown(text: str, shown: str) -> None:
    assert without_secrets(text, "dingtalk://bob%40x:p%40ss@abcdef123/?to=all") == shown


def test_a_notice_says_what_it_means_and_what_to_do() -> None:
    english, chinese = notice(ROW, "began", "en"), notice(ROW, "began", "zh")
    assert (english.title, english.kind) == ("[critical] Node n1 of main is down", "failure")
    assert english.body.splitlines() == [
        "Node n1 of main has not answered since 2027-01-15 07:59:55 UTC",
        "Since 2027-01-15 07:59:55 UTC.",
        "What it means: Users who may be connected to it are shown `unknown`, reason `node_down`.",
        f"What to do: {BY_NAME['node_down'].way_out.en}",
        "Alert a1: presence-ledger alerts",
    ]
    assert chinese.title == "[严重] 来源 main 的节点 n1 宕机"
    over = ROW._replace(ended_at=AT + 595 * SECOND)
    assert notice(over, "ended", "en").title == "[resolved] Node n1 of main is down"
    assert notice(over, "ended", "zh").body.splitlines()[1] == (
        "从 2027-01-15 07:59:55 UTC 到 2027-01-15 08:09:55 UTC（10 分钟）。"
    )
    assert notice(over, "ended", "en").kind == "success"


@pytest.mark.parametrize(
    ("severity", "least", "told"),
    [("info", "warning", False), ("warning", "warning", True), ("critical", "info", True), ("fatal", "critical", True)],
)
def test_who_is_told_from_a_severity_on(severity: str, least: Any, told: bool) -> None:
    assert reaches(severity, least) == told
