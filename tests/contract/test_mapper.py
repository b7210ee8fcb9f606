"""The stored form of events: kinds that stay, payloads readable for ever, upcasting, and kinds of the future."""

from typing import Any

import msgspec
import pytest
from eventsourcing.persistence import StoredEvent
from msgspec.structs import replace

from ledger.domain.events import WebhookObserved
from ledger.domain.policy import Policy
from ledger.store.mapper import (
    CURRENT_KINDS,
    UPCASTERS,
    EventMapper,
    Recorded,
    UnknownKind,
    UnreadableEvent,
    source_stream,
    user_stream,
)
from tests.support.stored_forms import OLDER, STORED


def test_every_kind_has_a_stored_form_that_is_frozen_here() -> None:
    assert STORED.keys() == CURRENT_KINDS.keys()
    assert OLDER.keys() == UPCASTERS.keys()


@pytest.mark.parametrize("kind", OLDER)
def test_a_stored_form_of_before_is_read_as_that_of_now(kind: str) -> None:
    newer, payload = OLDER[kind]
    mapper = EventMapper()
    event = mapper.event(kind, payload.encode())
    assert event == STORED[newer][1]
    assert mapper.event(kind, payload.replace("{", '{"added":1,', 1).encode()) == event


@pytest.mark.parametrize("kind", STORED)
def test_a_stored_form_is_read(kind: str) -> None:
    payload, event = STORED[kind]
    assert EventMapper().event(kind, payload.encode()) == event


@pytest.mark.parametrize("kind", [kind for kind in STORED if kind != "configured.v1"])
def test_an_event_is_stored_as_it_was_before(kind: str) -> None:
    payload, event = STORED[kind]
    assert EventMapper().kind_and_payload(event) == (kind, payload.encode())


def test_a_configuration_is_stored_whole_so_that_a_new_default_changes_no_past() -> None:
    _, payload = EventMapper().kind_and_payload(STORED["configured.v1"][1])
    assert msgspec.json.decode(payload)["policy"].keys() == msgspec.structs.asdict(Policy()).keys()


def test_defaults_at_the_end_of_an_array_are_left_out() -> None:
    mapper = EventMapper()
    event = STORED["webhook_observed.v2"][1]
    assert isinstance(event, WebhookObserved)
    whole = mapper.kind_and_payload(replace(event, unbelieved=1))[1]
    assert msgspec.json.decode(whole) == list(msgspec.json.decode(msgspec.json.encode(replace(event, unbelieved=1))))
    assert mapper.event("webhook_observed.v2", whole[:-1] + b",17]") == replace(event, unbelieved=1)
    for number, field in enumerate(msgspec.structs.fields(WebhookObserved)):
        if field.default is not msgspec.NODEFAULT:
            plain = WebhookObserved(*msgspec.structs.astuple(event)[:number])
            payload = mapper.kind_and_payload(plain)[1]
            assert len(msgspec.json.decode(payload)) <= number
            assert mapper.event("webhook_observed.v2", payload) == plain
    odd = replace(event, raw='x,"",false]', rule=",null]", scope=",0]")
    assert mapper.event(*mapper.kind_and_payload(odd)) == odd


@pytest.mark.parametrize("kind", [kind for kind, (payload, _) in STORED.items() if payload.startswith("{")])
def test_what_a_newer_version_added_to_a_kind_is_passed_over(kind: str) -> None:
    payload, event = STORED[kind]
    assert EventMapper().event(kind, payload.replace("{", '{"added":1,', 1).encode()) == event


@pytest.mark.parametrize("kind", ["webhook_observed.v3", "corrected.v2", "erased.v1", ""])
def test_a_kind_of_the_future_says_so(kind: str) -> None:
    with pytest.raises(
        UnknownKind, match=f"of kind '{kind}', which this version does not know; run the newer one that wrote it"
    ):
        EventMapper().event(kind, b"{}")


class Moved(msgspec.Struct, frozen=True):
    """An event of the test's own, in its third version."""

    to: str
    by: str = "nobody"


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    return {"to": fields["place"]}


def _with_mover(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "by": f"somebody who went to {fields['to']}"}


UPCASTING = EventMapper(
    kinds={"moved.v3": Moved},
    upcasters={"moved.v1": ("moved.v2", _renamed), "moved.v2": ("moved.v3", _with_mover)},
)


@pytest.mark.parametrize(
    ("kind", "payload", "event"),
    [
        ("moved.v1", b'{"place":"x"}', Moved("x", "somebody who went to x")),
        ("moved.v2", b'{"to":"y"}', Moved("y", "somebody who went to y")),
        ("moved.v3", b'{"to":"z"}', Moved("z")),
    ],
)
def test_older_versions_are_read_as_the_newest(kind: str, payload: bytes, event: Moved) -> None:
    read: object = UPCASTING.event(kind, payload)
    assert read == event


def test_an_upcaster_to_nowhere_is_an_unknown_kind() -> None:
    mapper = EventMapper(kinds={}, upcasters={"moved.v1": ("moved.v2", _renamed)})
    with pytest.raises(UnknownKind, match=r"of kind 'moved\.v2'"):
        mapper.event("moved.v1", b'{"place":"x"}')


def test_a_payload_that_does_not_fit_its_kind_is_no_event() -> None:
    with pytest.raises(UnreadableEvent, match=r"of kind 'service_stopped\.v1' that cannot be read"):
        EventMapper().event("service_stopped.v1", b'{"at":"noon","instance":"i"}')


def test_the_librarys_names_for_both_ways() -> None:
    event = STORED["service_stopped.v1"][1]
    mapper = EventMapper()
    stored = mapper.to_stored_event(Recorded(source_stream("main"), 7, event))
    assert stored == StoredEvent("source:main", 7, "service_stopped.v1", STORED["service_stopped.v1"][0].encode())
    assert mapper.to_domain_event(stored) == Recorded("source:main", 7, event)


def test_streams_of_users_and_sources_never_meet() -> None:
    assert user_stream("source:main") != source_stream("main")
    assert source_stream("user:u") != user_stream("u")
