"""Checks the small parts of the HTTP edge: keys while the store is away, cursors, secrets, delivery ids, the log."""

import asyncio
import json

import pytest
import structlog
from fastapi.exceptions import RequestValidationError

from ledger.domain.source import SourceState
from ledger.errors import LedgerError, StoreUnavailable
from ledger.http import problems
from ledger.http.auth import KeyRing, Keys, secret_matches
from ledger.http.hooks import ID_DIGITS, ID_LENGTH, new_delivery_id
from ledger.http.outages import Outages
from ledger.http.paging import from_cursor, number_from_cursor, to_cursor
from ledger.http.problems import Problem
from ledger.http.questions import UidQuery, parse
from ledger.server.logs import configure_logging
from ledger.settings import ApiKeySettings
from ledger.store.api_keys import key_hash
from ledger.working_state.sources import SourceUnreadable

AT = "2026-11-23T08:20:46Z"
FIXED = ApiKeySettings("app", frozenset({"read"}), "a-fixed-key")


async def scopes(ring: KeyRing, key: str) -> frozenset[str] | None:
    found = await ring.find(key)
    return None if found is None else found.scopes


def test_fixed_keys_need_no_store() -> None:
    def load() -> Keys:
        raise StoreUnavailable("away")

    async def ask() -> None:
        ring = KeyRing(load, [FIXED])
        assert await scopes(ring, "a-fixed-key") == frozenset({"read"})
        with pytest.raises(StoreUnavailable):
            await scopes(ring, "another-key")

    asyncio.run(ask())


def test_keys_last_read_stay_in_force_while_the_store_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.http.fresh.FRESH_SECONDS", -1.0)
    answers: list[Keys | StoreUnavailable] = [
        {key_hash("stored"): ("name", frozenset({"audit"}))},
        StoreUnavailable("away"),
        {},
    ]

    def load() -> Keys:
        answer = answers.pop(0)
        if isinstance(answer, StoreUnavailable):
            raise answer
        return answer

    async def ask() -> None:
        ring = KeyRing(load, [])
        assert [await scopes(ring, "stored") for _ in range(3)] == [frozenset({"audit"}), frozenset({"audit"}), None]

    asyncio.run(ask())


def test_requests_at_once_read_the_keys_once() -> None:
    calls = []

    def load() -> Keys:
        calls.append(1)
        return {}

    async def ask() -> None:
        ring = KeyRing(load, [])
        assert await asyncio.gather(*(scopes(ring, "k") for _ in range(20))) == [None] * 20

    asyncio.run(ask())
    assert len(calls) == 1


@pytest.mark.parametrize("given", ["", "secret", "secret-two", "\udcff", "用户"])
def test_a_secret_matches_only_itself(given: str) -> None:
    assert not secret_matches(given, ["secret-one", "secret-2"])
    assert secret_matches("secret-2", ["secret-one", "secret-2"])


@pytest.mark.parametrize("key", ["", "u100", "a/b c", "用户", "x" * 1024])
def test_a_cursor_gives_its_key_back(key: str) -> None:
    assert from_cursor(to_cursor(key)) == key


@pytest.mark.parametrize("cursor", ["!", "A", "é", "_w", "a b"])
def test_a_cursor_that_is_none_names_its_field(cursor: str) -> None:
    with pytest.raises(Problem) as caught:
        from_cursor(cursor)
    assert [error.field for error in caught.value.errors] == ["after"]
    with pytest.raises(Problem):
        number_from_cursor(cursor)


def test_no_cursor_is_the_beginning() -> None:
    assert (from_cursor(None), number_from_cursor(None), number_from_cursor("017")) == (None, None, 17)


def test_delivery_ids_are_short_and_ascend(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [new_delivery_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert {len(each) for each in ids} == {ID_LENGTH}
    assert set("".join(ids)) <= set(ID_DIGITS)
    # Below the millisecond they are at random.
    clock = iter(range(1_796_000_000_000_000_000, 1_796_000_000_000_000_000 + 100 * 1_000_000, 1_000_000))
    monkeypatch.setattr("ledger.http.hooks.time.time_ns", lambda: next(clock))
    ascending = [new_delivery_id() for _ in range(100)]
    assert ascending == sorted(ascending)
    assert len({each[9:] for each in ascending}) == 100


def test_our_own_errors_are_problems_without_a_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    try:
        outages = Outages.none_yet()
        away, _, unreadable, _, other = [
            problems.from_ledger_error(error, outages, "/hooks/main/n1/x")
            for error in [
                *[StoreUnavailable("away")] * 2,
                *[SourceUnreadable(SourceState("main"), "newer")] * 2,
                LedgerError("odd"),
            ]
        ]
    finally:
        structlog.reset_defaults()
    assert (away.status_code, away.headers["retry-after"], other.status_code) == (503, "1", 500)
    assert (unreadable.status_code, unreadable.headers["retry-after"]) == (503, "1")
    assert json.loads(bytes(away.body))["detail"] == "away"
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["store_unavailable", "source_unreadable", "request_failed"]


def test_the_log_for_people_is_no_json(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", "console")
    try:
        structlog.get_logger().info("too quiet")
        structlog.get_logger().warning("seen", where="here")
    finally:
        structlog.reset_defaults()
    text = capfd.readouterr().err
    assert "seen" in text
    assert "too quiet" not in text


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"at": 17}, "at"),
        ({"at": AT, "known_at": True}, "known_at"),
        ({"at": AT, "position": True}, "position"),
        ({"at": AT, "position": 1.0}, "position"),
        ({"at": AT, "position": "1"}, "position"),
    ],
)
def test_a_body_is_taken_for_nothing_else_than_it_says(asked: dict[str, object], field: str) -> None:
    with pytest.raises(RequestValidationError) as refused:
        parse(UidQuery, json.dumps({"uids": ["u"], **asked}).encode())
    assert [error["loc"] for error in refused.value.errors()] == [("body", field)]
    answered = json.loads(bytes(problems.validation(refused.value).body))
    assert answered["errors"][0]["field"] == field
    assert "Value error" not in answered["detail"]


def test_an_instant_and_a_position_are_taken() -> None:
    query = parse(UidQuery, json.dumps({"uids": ["u"], "at": AT, "position": 7}).encode())
    assert (query.is_past, query.position) == (True, 7)
