"""Checks what a digest and a seal cover: no field runs into the next, and nothing of a run is left out."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ledger.store.seal import (
    DIGEST_BYTES,
    NO_SEAL,
    RUN_EVENTS,
    Seal,
    SealChain,
    SealKey,
    digests,
    instant_from_count,
    microseconds,
    seal_keys,
)

KEY = SealKey("the-key-of-these-seals")
NOW = datetime(2026, 5, 4, 3, 2, 1, 987654, tzinfo=UTC)


def digest(stream: str = "user:u", version: int = 1, kind: str = "k.v1", payload: bytes = b"{}") -> bytes:
    return digests([stream], [version], [kind], [payload])


def one(first: int = 1, recorded_at: datetime = NOW, covered: bytes | None = None, key: SealKey = KEY) -> Seal:
    chain = SealChain(key, None)
    chain.add(first, recorded_at, covered or digest())
    made = chain.end()
    assert made is not None
    return made


def test_a_digest_is_of_each_field_after_its_length() -> None:
    written = (8).to_bytes(4) + (7).to_bytes(8)
    for field in ("user:ü".encode(), b"k.v1", b'{"at":1}'):
        written += len(field).to_bytes(4) + field
    assert digest("user:ü", 7, "k.v1", b'{"at":1}') == hashlib.sha256(written).digest()


@pytest.mark.parametrize(
    "other",
    [
        digest(stream="user:v"),
        digest(version=2),
        digest(kind="k.v2"),
        digest(payload=b"[]"),
        digest("user:uk", 1, ".v1"),
    ],
)
def test_no_two_events_have_one_digest(other: bytes) -> None:
    assert other != digest()


def test_digests_stand_in_the_order_of_the_events() -> None:
    both = digests(["a", "b"], [1, 1], ["k.v1", "k.v1"], [b"1", b"2"])
    assert both == digest("a", payload=b"1") + digest("b", payload=b"2")
    assert digests([], [], [], []) == b""


def test_a_seal_follows_its_own_predecessor_under_its_own_key_alone() -> None:
    made = one()
    assert made[:5] == (1, 1, microseconds(NOW), KEY.id, digest())
    assert made.follows(NO_SEAL, KEY)
    assert not made.follows(bytes([1]) * DIGEST_BYTES, KEY)
    assert not made.follows(NO_SEAL, SealKey("another-key"))


@pytest.mark.parametrize(
    "change",
    [
        {"first_position": 2},
        {"last_position": 2},
        {"recorded_at": microseconds(NOW) + 1},
        {"digests": digest(version=2)},
        {"digests": b""},
        {"seal": NO_SEAL},
        {"seal": b""},
    ],
)
def test_an_altered_seal_follows_nothing(change: dict[str, Any]) -> None:
    assert not one()._replace(**change).follows(NO_SEAL, KEY)


def test_runs_end_where_positions_or_instants_do() -> None:
    chain = SealChain(KEY, None)
    later = NOW + timedelta(microseconds=1)
    assert chain.add(1, NOW, digest() * 2) is None
    assert chain.add(3, NOW, digest()) is None
    first = chain.add(4, later, digest())
    second = chain.add(6, later, digest())
    third = chain.end()
    assert first is not None
    assert second is not None
    assert third is not None
    assert [each[:2] for each in (first, second, third)] == [(1, 3), (4, 4), (6, 6)]
    assert first.follows(NO_SEAL, KEY)
    assert second.follows(first.seal, KEY)
    assert third.follows(second.seal, KEY)
    assert chain.end() is None


def test_a_run_is_bounded() -> None:
    chain = SealChain(KEY, b"\1" * DIGEST_BYTES)
    assert chain.add(1, NOW, digest() * RUN_EVENTS) is None
    ended = chain.add(RUN_EVENTS + 1, NOW, digest())
    assert ended is not None
    assert ended.last_position == RUN_EVENTS
    assert ended.follows(b"\1" * DIGEST_BYTES, KEY)


def test_a_key_is_known_by_an_id_and_shows_itself_nowhere() -> None:
    assert len(KEY.id) == 8
    assert KEY.id != SealKey("another-key").id
    assert KEY.text not in repr(KEY)
    assert list(seal_keys(["b", "a"])) == [SealKey("b").id, SealKey("a").id]


def test_instants_are_counted_exactly() -> None:
    assert instant_from_count(microseconds(NOW)) == NOW
    assert microseconds(datetime(2000, 1, 1, 0, 0, 1, tzinfo=UTC)) == 1_000_000
