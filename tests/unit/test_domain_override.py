"""An operator's word: what it shows and for how long, what ends it, and that nothing is judged by it."""

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from ledger.domain.as_of import Later, believe
from ledger.domain.drift import Difference, Doubt, Poll
from ledger.domain.events import SessionId, WebhookObserved
from ledger.domain.evolve import evolve
from ledger.domain.look import Watch, judge_look
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND
from ledger.domain.override import Override, after_evidence, ended_by_evidence, ended_by_somebody
from ledger.domain.override_events import OverrideEnded, Word
from ledger.domain.policy import Policy
from ledger.domain.presence import Presence
from ledger.domain.reach import PushAdvice, reach
from ledger.domain.reconciliation_events import Corrected, Located, OpenedSession, Swept, TierSet
from ledger.domain.source import SourceState
from ledger.domain.status import Shown, derive, is_overridden, next_change_at
from ledger.ingest.draft import Draft, read_webhook
from ledger.simulator.sender import encode
from tests.support.overriding import overriding
from tests.support.scenario import PAUSE_SECONDS, STARTED_AT, given

ONLINE_AT = STARTED_AT + round(PAUSE_SECONDS * SECOND)
ONLINE = given("u-0-1-5-1-1").presence
GONE = given("u-0-1-5-1-1", "u-0-0-5-0-0").presence
GONE_AT = ONLINE_AT + round(PAUSE_SECONDS * SECOND)
SAID_AT = ONLINE_AT + SECOND
ENDS_AT = SAID_AT + 60 * SECOND


def said(presence: Presence, status: Word, *, until_evidence: bool = False, seconds: float = 60.0) -> Presence:
    event = overriding(presence, status, SAID_AT, seconds, until_evidence)
    return evolve(presence, event, presence.position + 1)


def shown(presence: Presence, at: int, sources: dict[str, SourceState] | None = None) -> Shown:
    return derive(presence, sources or {}, at)


def test_it_is_shown_until_the_very_instant_at_which_it_expires() -> None:
    presence = said(ONLINE, "offline")
    word = shown(presence, ENDS_AT - 1)
    assert (word.status, word.since, word.reason, is_overridden(word)) == ("offline", SAID_AT, None, True)
    assert word.cause is not None
    assert (word.cause.kind, word.cause.at, word.cause.position) == ("override", SAID_AT, presence.position)
    assert shown(presence, ENDS_AT) == shown(ONLINE, ENDS_AT)
    assert not is_overridden(shown(presence, ENDS_AT))
    assert next_change_at(presence, {}, SAID_AT) == ENDS_AT
    assert next_change_at(presence, {}, ENDS_AT) is None


@pytest.mark.parametrize(
    "source",
    [
        SourceState("main", dark_since=SAID_AT),
        SourceState("main", nodes={"n1": NodeState(down_since=SAID_AT)}),
        SourceState("main"),
    ],
)
def test_it_is_shown_whatever_is_in_doubt(source: SourceState) -> None:
    assert shown(said(ONLINE, "online"), ENDS_AT - 1, {"main": source}).status == "online"


def test_a_grace_period_goes_on_beneath_it() -> None:
    grace = {"main": SourceState("main", policy=Policy(grace_seconds=90.0))}
    presence = evolve(GONE, overriding(GONE, "offline", GONE_AT + SECOND, 60.0), 3)
    expires_at, shows_at = GONE_AT + 61 * SECOND, GONE_AT + 90 * SECOND
    assert next_change_at(presence, grace, GONE_AT + SECOND) == expires_at
    assert next_change_at(presence, grace, expires_at) == shows_at
    assert [shown(presence, at, grace).status for at in (expires_at - 1, expires_at, shows_at)] == [
        "offline",
        "online",
        "offline",
    ]


def test_sessions_status_by_evidence_and_last_evidence_are_as_if_it_were_not() -> None:
    presence = said(ONLINE, "offline")
    assert (presence.status, presence.flip, presence.devices) == (ONLINE.status, ONLINE.flip, ONLINE.devices)
    assert (presence.version, presence.position) == (ONLINE.version + 1, ONLINE.position + 1)
    assert presence.evident_position == ONLINE.position
    tier = TierSet(received_at=SAID_AT, tier="vip", by="ops", status_before="online", status_after="online")
    tiered = evolve(presence, tier, 9)
    assert (tiered.override, tiered.position) == (presence.override, 9)
    assert tiered.evident_position == evolve(ONLINE, tier, 9).evident_position == ONLINE.position
    ended = evolve(presence, ended_by_somebody(_word(presence), SAID_AT + 1, "deleted", "ops", "online"), 3)
    assert (ended.override, ended.evident_position, ended.position) == (None, ONLINE.position, 3)


def _word(presence: Presence) -> Override:
    assert presence.override is not None
    return presence.override


ITEM = given("u-0-1-5-1-1", "u-0-1-5-1-1").events[-1]


def item(**fields: Any) -> WebhookObserved:
    return replace(ITEM, **{"received_at": SAID_AT + 1, **fields})


def corrected(**fields: Any) -> Corrected:
    values: dict[str, Any] = {
        "source": "main",
        "node": "n1",
        "received_at": SAID_AT + 1,
        "rule": "poll_ghost",
        "status_before": "online",
        "status_after": "online",
        "run": "r",
        "poll": "p",
        "asked_at": SAID_AT,
        "drift": None,
    }
    return Corrected(**{**values, **fields})


SWEPT = Swept(
    source="main",
    node="n1",
    received_at=SAID_AT + 1,
    rule="restart",
    status_before="online",
    status_after="offline",
    ended=(SessionId("", 0, 5),),
    run="r",
    evidence=1,
)
LOCATED = Located(SessionId("", 0, 5), "n1")


@pytest.mark.parametrize(
    ("event", "gives_way"),
    [
        (item(verdict="opened"), True),
        (item(verdict="closed", online=False), True),
        (item(verdict="duplicate"), True),
        (item(verdict="duplicate", repeated=True), False),
        (item(verdict="duplicate", online=False), False),
        (item(verdict="late", online=False), False),
        (item(verdict="stale"), False),
        (item(verdict="late", online=False, status_after="offline"), True),
        (item(verdict="opened", received_at=SAID_AT), False),
        (corrected(opened=(OpenedSession("", 0, 6, "n1"),)), True),
        (corrected(closed=(SessionId("", 0, 5),)), True),
        (corrected(located=(LOCATED,)), True),
        (corrected(located=(replace(LOCATED, seen=False),)), False),
        (SWEPT, True),
    ],
)
def test_newer_evidence_ends_it_where_it_is_to(event: WebhookObserved | Corrected | Swept, gives_way: bool) -> None:
    word = _word(said(ONLINE, "offline", until_evidence=True))
    assert after_evidence(word, event) == (None if gives_way else word)
    assert evolve(said(ONLINE, "offline", until_evidence=True), event, 3).override == (None if gives_way else word)
    stays = _word(said(ONLINE, "offline"))
    assert after_evidence(stays, event) == stays
    assert after_evidence(None, event) is None


def test_its_end_is_recorded_as_of_when_it_was() -> None:
    word = _word(said(ONLINE, "offline"))
    assert ended_by_evidence(word, SAID_AT + 5, "online").why == "evidence"
    by_time = OverrideEnded(
        received_at=ENDS_AT, why="expired", status="offline", status_before="online", status_after="online"
    )
    assert ended_by_evidence(word, ENDS_AT + 5, "online") == by_time
    assert ended_by_somebody(word, ENDS_AT, "replaced", "ops", "online") == by_time
    deleted = ended_by_somebody(word, ENDS_AT - 1, "deleted", "ops", "online")
    assert (deleted.why, deleted.by, deleted.received_at) == ("deleted", "ops", ENDS_AT - 1)


def drafted(presence: Presence, *items: str) -> Iterator[Any]:
    draft = Draft({"main": SourceState("main")}, {presence.uid: presence}, presence.position)
    webhook = read_webhook("d", "main", "n1", SAID_AT + 1, encode(items), 65536)
    for recorded in draft.add(webhook):
        yield draft.head, recorded.event


def test_the_end_by_evidence_stands_after_all_items_of_its_delivery() -> None:
    presence = said(ONLINE, "offline", until_evidence=True)
    kinds = [type(event).__name__ for _, event in drafted(presence, "u-0-0-5-0-0", "v-0-1-7-1-1", "u-0-1-8-1-1")]
    assert kinds == ["DeliveryReceived", *["WebhookObserved"] * 3, "OverrideEnded"]
    *_, (position, ended) = drafted(presence, "u-0-0-5-0-0", "v-0-1-7-1-1", "u-0-1-8-1-1")
    assert (position, ended.why, ended.status, ended.status_after) == (
        presence.position + 5,
        "evidence",
        "offline",
        "online",
    )
    assert [type(event).__name__ for _, event in drafted(said(ONLINE, "offline"), "u-0-0-5-0-0")][2:] == []


def test_a_look_is_judged_as_if_it_were_not() -> None:
    """Neither is a question overtaken by it, nor does a doubt become void."""
    source, presence = SourceState("main"), said(ONLINE, "offline")
    poll = Poll("p", "r", "n1", "POST /user/onlinestatus", SAID_AT, SAID_AT + 1, ONLINE.position)
    gone = Difference(gone=(SessionId("", 0, 5),))
    doubt = Doubt("ghost", None, SAID_AT - 9 * SECOND, ONLINE.position, 1, False, 1, SAID_AT - 9 * SECOND)
    for watch in (Watch(SAID_AT), Watch(SAID_AT, doubt=doubt)):
        judged = judge_look(presence, source, poll, gone, watch, holding=False)
        plain = judge_look(ONLINE, source, poll, gone, watch, holding=False)
        assert judged == plain
        assert judged.finding is not None


def test_with_hindsight_it_is_what_was_shown_until_the_evidence_was_there() -> None:
    presence = said(ONLINE, "online", until_evidence=True)
    event = corrected(
        received_at=SAID_AT + 30 * SECOND,
        closed=(SessionId("", 0, 5),),
        status_after="offline",
        agreed_at=SAID_AT,
        disagreed_at=SAID_AT + 5 * SECOND,
        drift="ghost",
    )
    for after in (1, 20):
        belief = believe(presence, [Later(9, event)], {}, SAID_AT + after * SECOND)
        assert (belief.shown.status, belief.uncertain) == ("online", None)
        assert is_overridden(belief.shown)


@pytest.mark.parametrize(
    ("presence", "word", "answer"),
    [
        (ONLINE, "offline", PushAdvice(True, "override", False)),
        (GONE, "offline", PushAdvice(True, "override", False)),
        (ONLINE, "online", PushAdvice(False, "online", True)),
        (GONE, "online", PushAdvice(True, "override", False)),
    ],
)
def test_a_push_notification_is_never_spared_by_a_word_alone(
    presence: Presence, word: Word, answer: PushAdvice
) -> None:
    sources = {"main": SourceState("main")}
    found = reach(said(presence, word), sources, {}, SAID_AT + 1)
    assert found.answer == answer
    assert found.devices == reach(presence, sources, {}, SAID_AT + 1).devices
    assert reach(said(presence, word), sources, {}, ENDS_AT).answer == reach(presence, sources, {}, ENDS_AT).answer
