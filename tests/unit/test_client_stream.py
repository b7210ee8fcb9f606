"""The Python client's stream: how it is read, when it is opened again, and what its errors are."""

import pytest

from ledger.client import errors
from ledger.client.backoff import MOST_SECONDS, Backoff
from ledger.client.calls import check_number, segment
from ledger.client.event_stream import MAX_LINE_BYTES, EventStreamReader
from ledger.client.values import Gone, Ready, Resumed

AS_OF = b'"as_of":{"at":"2026-11-23T08:20:46.000123Z","position":4,"epoch":"e"}'
STREAM = (
    b"retry: 2500\n\n"
    b'id: e.1.1\nevent: resumed\ndata: {"recovered":false,"reason":"fresh",' + AS_OF + b"}\n\n"
    b": a comment\n\n"
    b'event: presence\ndata: {"uid":"a","status":"online","new_field":1,' + AS_OF + b"}\n\n"
    b"event: another\ndata: {}\n\n"
    b'id: e.4.4\r\nevent: ready\r\ndata: {"as_of":\r\ndata: {"at":"2026-11-23T08:20:46Z","position":4}}\r\n\r\n'
    b"id: e.5.5\n\n"
    b'event: gone\ndata:{"uid":"a"}\n\n'
)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_events_are_read_however_they_are_cut(size: int) -> None:
    reader = EventStreamReader()
    told = [each for start in range(0, len(STREAM), size) for each in reader.feed(STREAM[start : start + size])]
    assert [type(each.said).__name__ for each in told] == ["Resumed", "Presence", "Ready", "Gone"]
    assert [each.cursor for each in told] == ["e.1.1", "e.1.1", "e.4.4", "e.5.5"]
    assert reader.retry_seconds == 2.5
    first, _, ready, gone = (each.said for each in told)
    assert isinstance(first, Resumed)
    assert (first.reason, first.as_of.epoch) == ("fresh", "e")
    assert isinstance(ready, Ready)
    assert ready.as_of.order < first.as_of.order
    assert gone == Gone("a")


def test_an_event_that_is_cut_off_is_not_told() -> None:
    reader = EventStreamReader("e.0.0")
    assert reader.feed(b'id: e.1.1\nevent: gone\ndata: {"uid":"a"}\n') == []
    assert reader.cursor == "e.0.0"


@pytest.mark.parametrize("data", [b"event: gone\ndata: no json\n\n", b"x" * (MAX_LINE_BYTES + 1)])
def test_what_is_no_stream_of_ours_is_an_error(data: bytes) -> None:
    with pytest.raises(errors.NotPresenceLedger):
        EventStreamReader().feed(data)


def test_pauses_grow_and_differ() -> None:
    longest, shortest = Backoff(lambda: 1.0), Backoff(lambda: 0.0)
    assert [longest.pause(None) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, MOST_SECONDS, MOST_SECONDS]
    assert [shortest.pause(None) for _ in range(2)] == [0.125, 0.25]
    longest.succeeded()
    assert longest.pause(None) == 0.5
    # What the service says is spread over time already.
    assert longest.pause(20.0) == 20.0


@pytest.mark.parametrize(
    ("status", "kind", "lasts"),
    [
        (401, errors.Unauthorized, True),
        (403, errors.Forbidden, True),
        (404, errors.NotFound, True),
        (408, errors.Problem, False),
        (422, errors.Invalid, True),
        (429, errors.Problem, False),
        (500, errors.Problem, False),
        (503, errors.Unavailable, False),
    ],
)
def test_a_problem_is_an_error_of_its_status(status: int, kind: type[errors.Problem], *, lasts: bool) -> None:
    fault = b'{"field":"uids.1","detail":"no"}'
    body = b'{"type":"about:blank","title":"Wrong","status":1,"detail":"uids.1: no","errors":[%s]}' % fault
    error = errors.from_answer(status, body, "7")
    assert type(error) is kind
    assert isinstance(error, errors.Problem)
    assert str(error) == "Wrong: uids.1: no"
    assert (error.status, error.retry_after, error.errors) == (status, 7.0, (errors.FieldFault("uids.1", "no"),))
    assert errors.is_lasting(error) is lasts


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b'{"detail":"no title"}'])
def test_what_is_no_problem_is_not_presence_ledgers(body: bytes) -> None:
    error = errors.from_answer(502, body, None)
    assert isinstance(error, errors.NotPresenceLedger)
    # A proxy says so while the service behind it starts.
    assert not errors.is_lasting(error)


def test_more_users_than_a_stream_can_name_are_refused() -> None:
    check_number(["u"] * 10_000)
    with pytest.raises(errors.Invalid, match="10001 users; at most 10000: make a list"):
        check_number(["u"] * 10_001)


def test_any_name_is_one_segment() -> None:
    assert [segment(name) for name in ("a/b", ".", "..", "用")] == ["a%2Fb", "%2E", "%2E%2E", "%E7%94%A8"]
