"""How answers about many users go out: cut to the fields asked for, tagged, compressed where that is taken."""

import asyncio
import gzip
import threading
from typing import Any

import msgspec
import pytest
from fastapi import Request

from ledger.http import representation
from ledger.http.problems import Problem
from ledger.http.representation import Representation, Representations, accepts_gzip, matches
from projections.models.shown import AnswerPoint
from projections.queries.reader import Read

BODY = b'{"uid":"u1","status":"online","since":null,"last_seen_at":null,"devices":[{"source":"main"}],"version":3'


def asked(query: str = "", **headers: str) -> Representation:
    listed = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return representation.asked(
        Request({"type": "http", "query_string": query.encode(), "headers": listed, "method": "POST", "path": "/"})
    )


def answer(wanted: Representation, *bodies: bytes) -> Any:
    return asyncio.run(Representations().answer(Read(AnswerPoint(1, 7), list(bodies)), wanted))


def told(query: str, body: bytes = BODY) -> Any:
    [item] = msgspec.json.decode(answer(asked(query), body).body)["items"]
    assert item.pop("as_of")["position"] == 7
    return item


def test_only_the_fields_asked_for_are_told() -> None:
    assert told("fields=status") == {"uid": "u1", "status": "online"}
    assert told("fields=version,devices") == {"uid": "u1", "devices": [{"source": "main"}], "version": 3}
    assert told("fields=uid&fields=since") == {"uid": "u1", "since": None}
    # What only some presences have.
    assert told("fields=uncertain") == {"uid": "u1"}
    assert told("fields=uncertain", BODY + b',"uncertain":{}') == {"uid": "u1", "uncertain": {}}


@pytest.mark.parametrize(
    ("query", "named", "said"),
    [
        ("fields=state", "fields", "'state'"),
        ("fields=status,", "fields", "''"),
        ("fields=", "fields", "''"),
        ("field=status", "field", "no such parameter"),
        ("fields=status&at=x", "at", "no such parameter"),
    ],
)
def test_what_is_no_field_is_named(query: str, named: str, said: str) -> None:
    with pytest.raises(Problem) as caught:
        asked(query)
    assert caught.value.status == 422
    assert [error.field for error in caught.value.errors] == [named]
    assert said in caught.value.detail


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("*", True),
        ("GZIP", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip;q=1.", True),
        ("gzip;q=1.2.3", False),
        ("deflate", False),
        ("notgzip", False),
        ("", False),
    ],
)
def test_gzip_is_sent_to_those_who_take_it(header: str, *, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted


def test_tags_are_compared_weakly() -> None:
    assert matches('"a", W/"b"', 'W/"b"')
    assert matches('"b"', 'W/"b"')
    assert matches("*", 'W/"b"')
    assert not matches('"c"', 'W/"b"')
    assert not matches(None, 'W/"b"')


def test_a_tag_stands_for_what_is_told() -> None:
    tag = answer(asked(), BODY).headers["etag"]
    assert answer(asked(), BODY + b"0").headers["etag"] != tag
    assert answer(asked("fields=status"), BODY).headers["etag"] != tag
    # What is not asked for is not told of either.
    only = answer(asked("fields=status"), BODY).headers["etag"]
    assert answer(asked("fields=status"), BODY + b"0").headers["etag"] == only
    unchanged = answer(asked(if_none_match=tag), BODY)
    assert (unchanged.status_code, unchanged.body, unchanged.headers["etag"]) == (304, b"", tag)


@pytest.mark.parametrize("users", [100, 1000])
def test_a_large_answer_is_compressed(users: int) -> None:
    plain = answer(asked(), *[BODY] * users)
    zipped = answer(asked(accept_encoding="gzip"), *[BODY] * users)
    assert gzip.decompress(zipped.body) == plain.body
    assert (zipped.headers["content-encoding"], zipped.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert len(zipped.body) < len(plain.body) / 10
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in answer(asked(accept_encoding="gzip"), BODY).headers


def test_nobody_waits_for_the_compression_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def slow(body: bytes) -> bytes:
        release.wait(60)
        return gzip.compress(body)

    monkeypatch.setattr(representation, "_zipped", slow)

    async def ask_three() -> list[bool]:
        answers, read = Representations(), Read(AnswerPoint(1, 7), [BODY] * 100)
        wanted = asked(accept_encoding="gzip")
        held = [asyncio.create_task(answers.answer(read, wanted)) for _ in range(representation.ZIPPED_AT_ONCE)]
        await asyncio.sleep(0)
        third = await answers.answer(read, wanted)
        release.set()
        return ["content-encoding" in each.headers for each in [*await asyncio.gather(*held), third]]

    assert asyncio.run(ask_three()) == [True, True, False]
