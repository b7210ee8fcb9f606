"""What the console asks the service with: a key's hash that only a process of ours can sign, for a minute."""

import jwt
import pytest

from ledger.http.delegation import EXPIRES_SECONDS, SCHEME, Delegation
from ledger.http.grants import ALGORITHM
from ledger.http.problems import Problem
from ledger.store.api_keys import key_hash
from ledger.store.stream_tokens import roots

KEYS = ["the-newest-seal-key-of-these-tests", "an-older-seal-key-of-these-tests"]
NOW = 1_800_000_000.0
HASH = key_hash("a key")


def delegation(*keys: str, now: float = NOW) -> Delegation:
    return Delegation(roots(keys or KEYS), lambda: now)


def test_what_is_signed_is_read_by_all_who_share_the_key_for_a_minute() -> None:
    header = delegation().header(HASH)
    assert header.startswith(f"{SCHEME} eyJ")
    assert delegation().read(header) == HASH
    assert delegation("a-key-that-is-newer-than-these-all", *KEYS).read(header) == HASH
    assert delegation(now=NOW + EXPIRES_SECONDS).read(header) == HASH
    with pytest.raises(Problem, match="expired"):
        delegation(now=NOW + EXPIRES_SECONDS + 1).read(header)


def test_other_schemes_are_not_its_business() -> None:
    assert [delegation().read(header) for header in ("", "Bearer eyJ.a.b", "Basic eyJ")] == [None, None, None]


@pytest.mark.parametrize(
    "credentials",
    [
        "",
        "guessed",
        "eyJ.a.b",
        jwt.encode({"key": HASH.hex(), "exp": int(NOW)}, "k" * 32, ALGORITHM, {"kid": "unknown"}),
        jwt.encode({"key": HASH.hex(), "exp": int(NOW)}, "k" * 32, ALGORITHM, {"kid": roots(KEYS)[0].name}),
        delegation(KEYS[1])
        .header(HASH)
        .replace(roots([KEYS[1]])[0].name, roots([KEYS[0]])[0].name)
        .partition(" ")[2][:-2],
    ],
)
def test_nobody_else_can_sign(credentials: str) -> None:
    with pytest.raises(Problem) as refused:
        delegation(KEYS[0]).read(f"{SCHEME} {credentials}")
    assert refused.value.status == 401
