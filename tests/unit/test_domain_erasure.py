"""Erasure's pure part: positions as text, which texts name a user, and what is left of each kind of event."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.domain.alert_events import AlertBegan, AlertEnded
from ledger.domain.erasure import ERASED, Name, pack_positions, unpack_positions, without_user
from ledger.domain.event_types import SourceEvent
from ledger.domain.events import BodyRejected, ItemRejected, ServiceStopped
from ledger.domain.imported import SourceImported
from ledger.domain.nodes import OpenRun
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Finding, NodeDown, PollObserved, RunCounts, RunEnded, RunStarted
from ledger.ingest.erasing_others import NAMING_KINDS
from ledger.store.mapper import CURRENT_KINDS, USER_KINDS, EventMapper

UID, OTHER = "u1", "u10"
NAME = Name(UID)


@given(st.sets(st.integers(1, 2**60)))
def test_positions_are_read_as_they_were_written(positions: set[int]) -> None:
    assert list(unpack_positions(pack_positions(sorted(positions)))) == sorted(positions)


def test_neighbours_take_a_byte_each() -> None:
    assert len(base64.b64decode(pack_positions(range(1000, 2000)))) == 1001


@pytest.mark.parametrize("text", ["gA==", "*"])
def test_what_is_no_list_of_positions(text: str) -> None:
    with pytest.raises(ValueError, match=r"middle|base64"):
        list(unpack_positions(text))


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        ("u1-0-1-17-1-1", True),
        ('"u1"', True),
        ('{"uid": "u1"}', True),
        ("about u1, who left", True),
        ("用户u1用户", True),
        ("u10-0-1-17-1-1", False),
        ("xu1-0-1", False),
        ("a-u1-0-1", False),
        ("u1_x", False),
        ('"\\u0075\\u0031-x"', True),
        ("\\\\u1", True),
        ('"\\u0075x"', False),
        ("", False),
    ],
)
def test_which_texts_name_a_user(text: str, is_named: bool) -> None:
    assert NAME.is_in(text) is is_named


@pytest.mark.parametrize("uid", ["用户", "😀", "a/b c", 'quo"te', "a.b", "back\\slash"])
def test_names_of_any_characters_are_found_as_json_writes_them(uid: str) -> None:
    for ascii_only in (True, False):
        assert Name(uid).is_in(json.dumps([uid + "-0"], ensure_ascii=ascii_only))


def test_text_for_people_is_masked() -> None:
    assert NAME.masked("u1 asked, not u10") == f"{ERASED} asked, not u10"
    assert NAME.masked("nobody") == "nobody"


POLL = PollObserved(
    poll="p", run="r", node="n1", route="/x", asked_at=1, answered_at=2, head=3, asked=2, agreed=0,
    findings=(Finding(UID, "ghost", "open", None, 1), Finding(OTHER, "ghost", "open", None, 1)),
    rows={UID: "0:1", OTHER: "0:1"},
)  # fmt: skip
ITEM = ItemRejected(
    delivery="d", node="n1", item=0, received_at=1, reason="x", raw='"u1-x"', size=4, digest="ab", following=('"y"',)
)
BODY = BodyRejected(
    delivery="d", node="n1", received_at=1, reason="x", raw_base64=base64.b64encode(b'{"u1": 1}').decode(), size=9,
    digest="ab",
)  # fmt: skip
RUN = RunStarted(run="r", at=1, instance="i", scope="manual", uids=(UID, OTHER))
ENDED = RunEnded(
    run="r", at=2, started_at=1, scope="manual", outcome="completed", counts=RunCounts(), failures={"n1": "no u1 here"}
)
DOWN = NodeDown(node="n1", at=1, since=1, reason="said: u1")
BEGAN = AlertBegan(alert="a", name="x", severity="info", at=1, since=1, figures={"reason": "u1", "n": 1})
OVER = AlertEnded(alert="a", name="x", at=1, since=1, figures={"reason": "u1"})
IMPORTED = SourceImported(
    version=1, policy=Policy(), profile=Profile.V2_2, node_profiles={}, nodes={}, recent=(), last_webhook_at=None,
    dark_since=None, open_runs={"r": OpenRun(1, "manual", None, (UID,))}, breaker_until=None, lost_node_at=None,
    retired={}, rules_version=1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("event", "left"),
    [
        (POLL, replace(POLL, findings=POLL.findings[1:], rows={OTHER: "0:1"})),
        (replace(POLL, findings=()), replace(POLL, findings=(), rows={OTHER: "0:1"})),
        (RUN, replace(RUN, uids=(OTHER,), users=2)),
        (replace(RUN, uids=(UID,), users=1), replace(RUN, uids=(), users=1)),
        (ITEM, replace(ITEM, raw=ERASED, digest=None)),
        (replace(ITEM, raw='"z"', following=('"u1"',)), replace(ITEM, raw='"z"', following=(ERASED,))),
        (BODY, replace(BODY, raw_base64="", digest="")),
        (ENDED, replace(ENDED, failures={"n1": f"no {ERASED} here"})),
        (DOWN, replace(DOWN, reason=f"said: {ERASED}")),
        (BEGAN, replace(BEGAN, figures={"reason": ERASED, "n": 1})),
        (OVER, replace(OVER, figures={"reason": ERASED})),
        (IMPORTED, replace(IMPORTED, open_runs={"r": OpenRun(1, "manual", None, ())})),
    ],
)
def test_what_is_left_of_an_event_that_names_them(event: SourceEvent, left: SourceEvent) -> None:
    assert without_user(event, NAME) == left
    assert without_user(left, NAME) is left


NAMELESS = {
    "alert_acknowledged.v1", "breaker_closed.v1", "breaker_opened.v1", "configured.v1", "delivery_received.v1",
    "node_booted.v1", "node_settled.v1", "service_started.v1", "service_stopped.v1", "source_dark.v1", "source_lit.v1",
    "user_erased.v1", "events_archived.v1",
}  # fmt: skip


def test_of_each_kind_of_a_sources_events_it_is_known_whether_it_may_name_a_user() -> None:
    assert {*NAMING_KINDS, *NAMELESS} == CURRENT_KINDS.keys() - USER_KINDS
    mapper = EventMapper()
    assert {mapper.kind_and_payload(event)[0] for event in UNNAMED} - NAMELESS == {*NAMING_KINDS}


UNNAMED: list[Any] = [POLL, RUN, ITEM, BODY, ENDED, DOWN, BEGAN, OVER, IMPORTED, ServiceStopped(at=1, instance="u1")]


@pytest.mark.parametrize("event", UNNAMED)
def test_other_events_stay_the_very_same(event: SourceEvent) -> None:
    assert without_user(event, Name("nobody")) is event
