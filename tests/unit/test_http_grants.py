"""Tokens of streams: what they grant, for how long, and what is none of ours; bodies of lists, read one by one."""

import asyncio
from typing import Any
from uuid import UUID

import jwt
import pytest

from ledger.errors import StoreUnavailable
from ledger.http import list_bodies
from ledger.http.grants import ALGORITHM, Tokens, is_token
from ledger.http.list_bodies import check_name, check_uids
from ledger.http.problems import Problem
from ledger.store.stream_tokens import TokenRoot, roots
from tests.support.streams import GENERATION

KEYS = ["the-newest-seal-key-of-these-tests", "an-older-seal-key-of-these-tests"]
NOW = 1_800_000_000.5


def signing(*keys: str, generation: UUID = GENERATION, now: float = NOW) -> Tokens:
    return Tokens(lambda: generation, roots(keys or KEYS), lambda: now)


def refusal(tokens: Tokens, token: str) -> str:
    with pytest.raises(Problem) as error:
        asyncio.run(tokens.read(token))
    assert error.value.status == 401
    return error.value.detail


def signed(uids: list[str] | None = None, name: str | None = None) -> str:
    token, expires_at = asyncio.run(signing().sign(uids, name, 60))
    assert expires_at == (1_800_000_001 + 60) * 1_000_000
    assert is_token(token)
    return token


def test_what_is_signed_is_read() -> None:
    grant = asyncio.run(signing().read(signed(["a", "b"])))
    assert (grant.uids, grant.list, grant.expires_at) == (frozenset({"a", "b"}), None, 1_800_000_061)
    grant = asyncio.run(signing().read(signed(None, "friends")))
    assert (grant.uids, grant.list) == (None, "friends")


def test_seal_keys_are_rotated_instance_by_instance() -> None:
    token = signed(["a"])
    assert asyncio.run(signing("a-key-that-is-newer-than-these-all", *KEYS).read(token)).uids == frozenset({"a"})
    assert "none" not in refusal(signing(KEYS[1]), token)
    assert [root.name for root in roots([*KEYS, KEYS[0]])] == [root.name for root in roots(KEYS)]


def test_time_and_revocation_end_it() -> None:
    tokens, token = signing(), signed(["a"])
    grant = asyncio.run(tokens.read(token))
    assert asyncio.run(tokens.ended(grant)) is None
    assert asyncio.run(signing(now=NOW + 60).ended(grant)) is None
    assert asyncio.run(signing(now=NOW + 61).ended(grant)) == "expired"
    assert refusal(signing(now=NOW + 61), token) == "this token has expired"
    assert asyncio.run(signing(generation=UUID(int=2)).ended(grant)) == "revoked"
    assert "revoked" in refusal(signing(generation=UUID(int=2)), token)


def forged(claims: dict[str, Any], root: TokenRoot | None = None, algorithm: str = ALGORITHM) -> str:
    made = roots(KEYS)[0]
    key = (root or made).key(GENERATION) if algorithm != "none" else None
    return jwt.encode(claims, key, algorithm, {"kid": made.name})


@pytest.mark.parametrize(
    "token",
    [
        "",
        "eyJ.a.b",
        forged({"exp": NOW + 60, "uids": ["a"]}, roots(["another-key-than-the-ledgers-own-one"])[0]),
        forged({"exp": 1_900_000_000, "uids": ["a"]}, algorithm="none"),
        forged({"uids": ["a"]}),
        forged({"exp": "soon", "uids": ["a"]}),
        forged({"exp": 1_900_000_000, "uids": "abc"}),
        jwt.encode({"exp": 1_900_000_000}, roots(KEYS)[0].key(GENERATION), ALGORITHM),
        jwt.encode({"exp": 1_900_000_000}, roots(KEYS)[0].key(GENERATION), ALGORITHM, {"kid": "unknown"}),
    ],
)
def test_what_is_none_of_ours(token: str) -> None:
    refusal(signing(), token)


def test_without_the_store_it_is_not_known() -> None:
    def load() -> UUID:
        raise StoreUnavailable("away")

    with pytest.raises(StoreUnavailable):
        asyncio.run(Tokens(load, roots(KEYS)).read(signed(["a"])))


@pytest.mark.parametrize("name", ["", "n" * 257, "a\0b", "\ud800"])
def test_no_list_has_such_a_name(name: str) -> None:
    with pytest.raises(Problem, match=r"^name: "):
        check_name("name", name)


def test_users_are_counted_and_checked() -> None:
    check_uids("uids", ["a", "用户"], 2)
    with pytest.raises(Problem, match=r"^uids: 3 users; at most 2"):
        check_uids("uids", ["a", "b", "c"], 2)
    with pytest.raises(Problem, match=r"^uids\.1: an empty uid"):
        check_uids("uids", ["a", ""], 2)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("Expected `str`, got `int` - at `$.uids[1]`", "uids.1"),
        ("Expected `object`, got `array`", "body"),
        ("Object missing required field `uids`", "uids"),
        ("Object contains unknown field `users`", "users"),
    ],
)
def test_the_field_at_fault_is_named(message: str, field: str) -> None:
    assert list_bodies._located(message)[0] == field
