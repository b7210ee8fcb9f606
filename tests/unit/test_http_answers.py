"""The structs of the API's answers are what is answered, also where bytes are put together without them."""

from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from ledger.domain.as_of import Uncertain
from ledger.domain.events import WebhookObserved
from ledger.domain.evolve import evolve
from ledger.domain.presence import Presence
from ledger.http import (
    alert_answers,
    answers,
    examples,
    loss_answers,
    record_answers,
    source_answers,
    story_answers,
)
from ledger.http.reconciliation import drift_body
from ledger.working_state.runs import RunBody
from projections.models import entries, shown
from projections.models.drifts import Drift
from projections.models.repeats import Repeats
from projections.models.shown import AnswerPoint, plain_body, verified

AT = 1_800_000_000_000_001

ANSWERED: dict[str, type[msgspec.Struct]] = {
    "GET /v1/users/{uid}/presence": answers.PresenceBody,
    "GET /v1/presence": answers.PresencePage,
    "POST /v1/presence/query": answers.PresenceItems,
    "GET /v1/presence/summary": answers.SummaryBody,
    "GET /v1/users/{uid}/sessions": story_answers.SessionPage,
    "GET /v1/users/{uid}/explain": record_answers.ExplanationBody,
    "GET /v1/runs/{run}": RunBody,
    "GET /v1/sources/{source}/runs": record_answers.RunPage,
    "GET /v1/drift": record_answers.DriftPage,
    "GET /v1/drift/summary": record_answers.DriftSummary,
    "GET /v1/loss": loss_answers.LossBody,
    "GET /v1/blind": loss_answers.BlindPage,
    "GET /v1/alerts": alert_answers.AlertPage,
    "POST /v1/alerts/{alert}/acknowledge": alert_answers.AlertBody,
    "GET /v1/sources": source_answers.SourceItems,
    "PUT /v1/users/{uid}/tier": record_answers.TierBody,
    "PUT /v1/users/{uid}/override": record_answers.OverrideBody,
    "DELETE /v1/users/{uid}/override": record_answers.OverrideEndBody,
    "GET /health/live": source_answers.LiveBody,
    "GET /health/ready": source_answers.ReadyBody,
}


def test_every_entry_has_its_kinds() -> None:
    assert {*get_args(entries.Entry), Repeats} <= set(story_answers.ENTRIES.values())
    kinds = {
        (kind, struct) for struct in story_answers.ENTRIES.values() for kind in get_args(get_type_hints(struct)["kind"])
    }
    assert kinds == set(story_answers.ENTRIES.items())


@pytest.mark.parametrize("route", ANSWERED)
def test_what_is_answered_has_this_shape_and_no_more(route: str) -> None:
    [(_, body)] = [each for each in examples.ANSWERS[route].items() if each[0] in ("200", "202")]
    assert as_encoded(msgspec.convert(body, ANSWERED[route])) == body


def test_the_timeline_too() -> None:
    page = examples.ANSWERS["GET /v1/users/{uid}/timeline"]["200"]
    for entry in page["items"]:
        assert as_encoded(msgspec.convert(entry, story_answers.ENTRIES[entry["kind"]])) == entry
    assert page.keys() == set(story_answers.TimelinePage.__struct_fields__)


@pytest.mark.parametrize("page", ["GET /v1/users/{uid}/events", "GET /v1/ledger/events"])
def test_events_have_their_places(page: str) -> None:
    for event in examples.ANSWERS[page]["200"]["items"]:
        place = as_encoded(msgspec.convert(event, record_answers.EventBody))
        assert place.items() <= event.items()
        assert "uid" in place or "source" in place


def test_a_presence_is_written_as_its_struct_is_encoded() -> None:
    """Also where the truth is not known, of which no example tells."""
    observed = WebhookObserved(
        source="main", node="n1", device_flag=0, conn_id=7, delivery="d", item=0, raw="u-0-1-7-1-1",
        received_at=AT, online=True, verdict="opened", rule="online_new", status_before="unknown",
        status_after="online",
    )  # fmt: skip
    presence = evolve(Presence("用户\n"), observed, 3)
    parts = plain_body(presence), verified(AT, 1), shown.hedged(Uncertain(AT, AT + 1, "offline"))
    body = b"".join(parts) + shown.as_of(AnswerPoint(AT, 5))
    found = msgspec.json.decode(body, type=answers.PresenceBody)
    assert answers.encode(found) == body
    assert found.devices[0].sessions == 1


def test_a_drift_is_shown_with_instants_as_text() -> None:
    drift = Drift("u", "main", 10, "missed", "open", None, AT, None, None, "r", "n1", 10)
    shown_drift = as_encoded(drift_body(drift))
    assert shown_drift.keys() == set(Drift._fields)
    instants = [shown_drift[name] for name in ("agreed_at", "disagreed_at", "ended_at")]
    assert instants == [None, "2027-01-15T08:00:00.000001Z", None]


def as_encoded(body: msgspec.Struct) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(answers.encode(body))
    return found
