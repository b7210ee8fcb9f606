"""The past over HTTP: what was said is said again, hindsight is told apart, questions without meaning are refused."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.service import Api

NEVER: dict[str, Any] = {
    "status": "unknown",
    "reason": "never_observed",
    "since": None,
    "cause": None,
    "version": 0,
    "devices": [],
}


def asked(api: Api, uid: str, **when: Any) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/v1/users/{uid}/presence", **when)
    return found


def shifted(instant: str, seconds: float) -> str:
    return (datetime.fromisoformat(instant) + timedelta(seconds=seconds)).isoformat()


@pytest.fixture(scope="module")
def said(api: Api) -> list[dict[str, Any]]:
    """What was said of a user after each of their changes."""
    answers = []
    for item in ("past-0-1-1-1-1", "past-1-1-2-1-2", "past-0-0-1-0-1", "past-1-0-2-0-0", "past-0-1-3-1-1"):
        api.deliver(item)
        answers.append(asked(api, "past"))
    return answers


def test_an_answer_asked_again_by_its_as_of_is_the_same(api: Api, said: list[dict[str, Any]]) -> None:
    assert [answer["status"] for answer in said] == ["online", "online", "online", "offline", "online"]
    for answer in said:
        assert asked(api, "past", **answer["as_of"]) == answer
        at = answer["as_of"]["at"]
        known = asked(api, "past", at=at, known_at=at)
        assert known == answer
        # Nothing that came later speaks of that instant.
        now = asked(api, "past", at=at)
        assert {**now, "as_of": None} == {**answer, "as_of": None}
        assert now["as_of"]["position"] >= said[-1]["as_of"]["position"]


def test_many_users_of_the_past_are_asked_about_at_once(api: Api, said: list[dict[str, Any]]) -> None:
    as_of = said[3]["as_of"]
    answer = api.http.post("/v1/presence/query", json={"uids": ["nobody", "past", "past"], **as_of})
    assert answer.status_code == 200
    nobody, *twice = answer.json()["items"]
    assert twice == [said[3], said[3]]
    assert nobody == {"uid": "nobody", "last_seen_at": None, "verified_at": None, "as_of": as_of, **NEVER}


def test_before_the_first_event_nobody_had_been_observed(api: Api, said: list[dict[str, Any]]) -> None:
    early = asked(api, "past", at="2001-01-01T00:00:00Z")
    assert {name: early[name] for name in NEVER} == NEVER
    assert early["as_of"]["at"] == "2001-01-01T00:00:00.000000Z"
    # By what was known before their first event, at any instant.
    position = said[0]["cause"]["position"] - 1
    assert asked(api, "past", at=said[4]["as_of"]["at"], position=position)["reason"] == "never_observed"


def test_an_answer_about_the_past_has_a_tag_of_its_own(api: Api, said: list[dict[str, Any]]) -> None:
    path, as_of = "/v1/users/past/presence", said[3]["as_of"]
    then = api.http.get(path, params=as_of)
    assert then.headers["etag"] != api.http.get(path).headers["etag"]
    again = api.http.get(path, params=as_of, headers={"If-None-Match": then.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


FUTURE = "2199-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("when", "field"),
    [
        ({"at": FUTURE}, "at"),
        ({"at": "yesterday"}, "at"),
        ({"at": "1800000000"}, "at"),
        ({"at": "2026-11-23T08:20:46"}, "at"),
        ({"at": "{at}", "known_at": "{before}"}, "known_at"),
        ({"at": "{at}", "known_at": FUTURE}, "known_at"),
        ({"at": "{at}", "known_at": "never"}, "known_at"),
        ({"at": "{at}", "position": "999999999"}, "position"),
        ({"at": "{at}", "position": "-1"}, "position"),
        ({"at": "{at}", "position": "x"}, "position"),
        ({"at": "{at}", "known_at": "{at}", "position": "1"}, "position"),
        ({"position": "1"}, "position"),
        ({"known_at": "{at}"}, "known_at"),
        ({"when": "{at}"}, "when"),
    ],
)
def test_a_question_without_meaning_is_refused_by_field(
    api: Api, said: list[dict[str, Any]], when: dict[str, str], field: str
) -> None:
    at = said[0]["as_of"]["at"]
    params = {name: value.format(at=at, before=shifted(at, -1)) for name, value in when.items()}
    answer = api.http.get("/v1/users/past/presence", params=params)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_body_without_meaning_is_refused_by_field(api: Api, said: list[dict[str, Any]]) -> None:
    answer = api.http.post("/v1/presence/query", json={"uids": ["past"], "at": FUTURE})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "at")
