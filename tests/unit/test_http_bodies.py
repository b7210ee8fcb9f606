"""Checks how bodies are read: within a bound and a time, decoded, a few large ones at once; and large questions."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import Request
from starlette.datastructures import QueryParams

from ledger.domain.observation import MAX_UID_BYTES
from ledger.http import bodies
from ledger.http.answers import FieldError
from ledger.http.edge import guarded, without_last_slash
from ledger.http.hooks import parse_event
from ledger.http.outages import Outages
from ledger.http.problems import MAX_ERRORS, Problem, answer, invalid
from ledger.http.questions import MAX_UIDS, SMALL_BYTES, UIDS_BYTES, RunQuery, UidQuery, parse

BOUND = 1000
EMPTY = gzip.compress(b"[]")


def request_of(*parts: bytes, more: bool = False, **headers: str) -> Request:
    """A request whose body comes in these parts; with `more` it does not end."""
    left = list(parts)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        part = left.pop(0)
        if part == b"gone":
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": bool(left) or more}

    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": named}, receive)


def read(request: Request, bound: int = BOUND) -> bytes:
    return asyncio.run(bodies.read(request, bound, "send less"))


def refused(call: Callable[[], object]) -> int:
    with pytest.raises(Problem) as caught:
        call()
    return caught.value.status


def test_a_body_is_put_together_and_its_mark_passed_over() -> None:
    assert read(request_of(b"\xef\xbb", b"\xbf[", b"]")) == b"[]"
    assert read(request_of(b"\xef\xbb\xbf\xef\xbb\xbf")) == b"\xef\xbb\xbf"
    assert read(request_of(b"x" * BOUND, content_encoding="identity")) == b"x" * BOUND


def test_beyond_the_bound_nothing_more_is_read() -> None:
    assert refused(lambda: read(request_of(b"x", content_length=str(BOUND + 1)))) == 413
    assert refused(lambda: read(request_of(b"x" * BOUND, b"x", more=True))) == 413
    asyncio.run(bodies.discard(request_of(b"x" * BOUND, b"x", more=True), BOUND))


def test_gzip_is_decoded_within_the_bound() -> None:
    small = gzip.compress(b"[" + b" " * (BOUND - 2) + b"]")
    assert len(read(request_of(small, content_encoding="gzip"))) == BOUND
    bomb = gzip.compress(b" " * 10_000_000)
    assert refused(lambda: read(request_of(bomb, content_encoding="gzip"), 20_000)) == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        EMPTY[:-1],
        EMPTY + b"x",
        EMPTY * 2,
        zlib.compress(b"[]"),
    ],
    ids=["empty", "plain", "cut", "more", "two", "zlib"],
)
def test_what_is_no_gzip_is_handed_back_as_it_came(body: bytes) -> None:
    with pytest.raises(bodies.Undecodable) as caught:
        read(request_of(body, content_encoding="gzip"))
    assert (caught.value.status, caught.value.body) == (400, body)


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
def test_other_encodings_are_not_known_here(encoding: str) -> None:
    with pytest.raises(bodies.Encoded) as caught:
        read(request_of(b"", content_encoding=encoding))
    assert (caught.value.status, caught.value.headers) == (415, {"Accept-Encoding": "gzip"})


def test_a_body_that_is_cut_off_or_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.01)
    assert refused(lambda: read(request_of(b"[", b"gone"))) == 400
    assert refused(lambda: read(request_of(b"[", more=True))) == 408
    assert refused(lambda: asyncio.run(bodies.discard(request_of(b"[", more=True), BOUND))) == 408


@pytest.mark.parametrize("is_zipped", [False, True])
def test_large_bodies_are_read_a_few_at_a_time_and_small_ones_always(is_zipped: bool) -> None:
    body = b" " * (bodies.LARGE_BYTES + 1)
    sent = request_of(gzip.compress(body), content_encoding="gzip") if is_zipped else request_of(body[:9], body[9:])

    async def scenario() -> None:
        few = asyncio.Semaphore(1)
        async with few:
            waiting = asyncio.create_task(bodies.read(sent, 2 * len(body), "", few))
            assert await bodies.read(request_of(b"[", b"]"), BOUND, "", few) == b"[]"
            assert not waiting.done()
        assert await waiting == body
        assert not few.locked()

    asyncio.run(scenario())


def large(**fields: str) -> bytes:
    """A JSON object of these fields, longer than what is read without a look before."""
    return ("{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}" + " " * SMALL_BYTES).encode()


UIDS = json.dumps(["u"] * 9_999 + ['"\\"'])
AT = '"2026-11-23T08:20:46Z"'


def test_a_large_question_is_answered_like_a_small_one() -> None:
    query = parse(UidQuery, large(uids=UIDS, at=AT, position="7"))
    assert (len(query.uids), query.uids[-1], query.position) == (10_000, '"\\"', 7)
    assert len(parse(RunQuery, large(uids=UIDS)).uids or ()) == 10_000
    longest = json.dumps({"uids": ["é" * (MAX_UID_BYTES // 2)] * MAX_UIDS}).encode()
    assert SMALL_BYTES < len(longest) <= UIDS_BYTES


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (large(uids=json.dumps(["u"] * 10_100)), "uids"),
        (large(**{f"field{number}": "1" for number in range(10_100)}), "body"),
        (large(uids='["u",7]'), "uids.1"),
        (large(uids='"u"'), "uids"),
        (large(other="1"), "body"),
        (large(uids='["u"]', at="[" + "{}," * 100 + "{}]"), "at"),
        (large(uids='["u"]', known_at="1" * 1000), "known_at"),
        (large(uids='["u"]')[:-1].replace(b"]", b""), "body"),
        (large(uids='["\\ud800"]'), "body"),
        (b'{"uids":["' + b"\xff" * SMALL_BYTES + b'"]}', "body"),
        (b'{"at":' + b"[" * SMALL_BYTES, "body"),
        (b'{"uids":["' + b'\\"' * SMALL_BYTES, "body"),
        (b'"' * SMALL_BYTES + b"\\", "body"),
        (large(uids='["u"]', **{"x" * SMALL_BYTES: "1"}), "body"),
    ],
    ids=range(14),
)
def test_a_large_body_that_is_no_question_costs_nothing(body: bytes, field: str) -> None:
    with pytest.raises(Problem) as caught:
        parse(UidQuery, body)
    [error] = caught.value.errors
    assert error.field == field
    assert len(error.detail) < 200


def test_a_problem_repeats_nothing_at_length() -> None:
    found = json.loads(bytes(answer(invalid("x" * 10_000, "odd")).body))
    assert len(found["detail"]) < 200
    assert len(found["errors"][0]["field"]) == 100
    many = Problem(422, "x" * 10_000, [FieldError("f", "x" * 10_000)] * 100)
    assert len(json.loads(bytes(answer(many).body))["errors"]) == MAX_ERRORS
    assert len(bytes(answer(many).body)) < 30_000


@pytest.mark.parametrize(
    ("query", "event"),
    [
        ("event=user.onlinestatus", "user.onlinestatus"),
        ("a=b?event=user.onlinestatus", "user.onlinestatus"),
        ("a=b?c=d?event=user.onlinestatus", "user.onlinestatus"),
        ("a=b%3Fevent%3Duser.onlinestatus", "user.onlinestatus"),
        ("flag?event=msg.notify", "msg.notify"),
        ("event=x?event=msg.notify", "msg.notify"),
        ("event=x&event=msg.notify", "msg.notify"),
        ("", ""),
        ("a=b", ""),
        ("event=", ""),
    ],
)
def test_what_a_webhook_tells_of_is_found_behind_a_query_of_the_address(query: str, event: str) -> None:
    assert parse_event(QueryParams(query)) == event


@pytest.mark.parametrize(
    ("raw", "path", "taken"),
    [
        (b"/health/live/", "/health/live/", "/health/live"),
        (b"/v1/presence//", "/v1/presence//", "/v1/presence"),
        (b"/", "/", "/"),
        (b"/v1/runs/x%2F", "/v1/runs/x/", "/v1/runs/x/"),
        (b"/v1/runs/x", "/v1/runs/x", "/v1/runs/x"),
    ],
)
def test_only_a_slash_that_was_written_so_is_passed_over(raw: bytes, path: str, taken: str) -> None:
    scope = {"path": path, "raw_path": raw}
    without_last_slash(scope)
    assert scope["path"] == taken


@pytest.mark.parametrize(
    ("path", "status", "over"), [("/v1/x", 200, True), ("/health/live", 200, False), ("/v1/x", 503, False)]
)
def test_an_answer_from_the_store_ends_its_outage(
    path: str, status: int, over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.repeated_logs.MIN_QUIET_SECONDS", 0.0)
    outages = Outages.none_yet()
    outages.questions.failed("away")
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"cache-control", b"private"), (b"content-security-policy", b"mine")]
    asyncio.run(
        _send(
            guarded(send, {"path": path}, outages),
            {"type": "http.response.start", "status": status, "headers": headers},
        )
    )
    assert outages.questions.is_ongoing is not over
    assert [name for name, _ in sent[0]["headers"]] == [
        b"cache-control",
        b"content-security-policy",
        b"x-content-type-options",
    ]


async def _send(send: Any, message: Any) -> None:
    await send(message)
    await send({"type": "http.response.body"})
