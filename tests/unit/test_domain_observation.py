"""Items parsed from the right: any uid, every bound, and why anything else is not a claim."""

import pytest

from ledger.domain.observation import MAX_NUMBER, MAX_UID_BYTES, Claim, Malformed, parse_item
from tests.support.scenario import format_item

SHAPE = "not uid-flag-online-connId-count-count"

CLAIMS = {
    "u100-0-1-17-1-2": Claim("u100", 0, True, 17, 1, 2),
    "u100-1-0-17-0-0": Claim("u100", 1, False, 17, 0, 0),
    "0f8e-4d-2a-1-1-7-1-1": Claim("0f8e-4d-2a", 1, True, 7, 1, 1),
    "a-0-1-1-1-1-0-1-2-1-1": Claim("a-0-1-1-1-1", 0, True, 2, 1, 1),
    "--0-1-2-3-4": Claim("-", 0, True, 2, 3, 4),
    "用户-99-1-1-1-1": Claim("用户", 99, True, 1, 1, 1),
    "😀-255-1-1-1-1": Claim("😀", 255, True, 1, 1, 1),
    "a\nb\r\n-0-1-1-1-1": Claim("a\nb\r\n", 0, True, 1, 1, 1),
    " -0-1-1-1-1": Claim(" ", 0, True, 1, 1, 1),
    "____manager-0-1-1-1-1": Claim("____manager", 0, True, 1, 1, 1),
    f"u-0-1-{MAX_NUMBER}-{MAX_NUMBER}-{MAX_NUMBER}": Claim("u", 0, True, MAX_NUMBER, MAX_NUMBER, MAX_NUMBER),
    "a" * MAX_UID_BYTES + "-0-1-1-1-1": Claim("a" * MAX_UID_BYTES, 0, True, 1, 1, 1),
    "é" * (MAX_UID_BYTES // 2) + "-0-1-1-1-1": Claim("é" * (MAX_UID_BYTES // 2), 0, True, 1, 1, 1),
}

MALFORMED = {
    "": SHAPE,
    "a": SHAPE,
    "-0-1-1-1-1": SHAPE,
    "u-0-1-1-1": SHAPE,
    "u-0-2-1-1-1": SHAPE,
    "u-0-01-1-1-1": SHAPE,
    "u-x-1-1-1-1": SHAPE,
    "u-0-1-1-1-": SHAPE,
    "u-0-1-1-1-1 ": SHAPE,
    "u-0-1-1-1-1\n": SHAPE,
    "u-0-1-+1-1-1": SHAPE,
    "u-0-1-1.0-1-1": SHAPE,
    "u-0-1-١-1-1": SHAPE,
    "u-²-1-1-1-1": SHAPE,
    "u-256-1-1-1-1": "device flag above 255",
    f"u-0-1-{MAX_NUMBER + 1}-1-1": "number beyond 2^63",
    f"u-0-1-1-{MAX_NUMBER + 1}-1": "number beyond 2^63",
    f"u-0-1-1-1-{MAX_NUMBER + 1}": "number beyond 2^63",
    "u-" + "9" * 20 + "-1-1-1-1": "number beyond 2^63",
    "u-0-1-" + "9" * 20 + "-1-1": "number beyond 2^63",
    "u-0-1-1-" + "9" * 5000 + "-1": "number beyond 2^63",
    "u-0-1-1-1-" + "9" * 5000: "number beyond 2^63",
    "a\0b-0-1-1-1-1": "uid holds NUL",
    "ü\0b-0-1-1-1-1": "uid holds NUL",
    "a\ud800b-0-1-1-1-1": "uid holds a lone surrogate",
    "\udfff-0-1-1-1-1": "uid holds a lone surrogate",
    "a" * (MAX_UID_BYTES + 1) + "-0-1-1-1-1": "uid over 1024 bytes",
    "é" * (MAX_UID_BYTES // 2) + "a-0-1-1-1-1": "uid over 1024 bytes",
}


def short(text: str) -> str:
    return ascii(text[:20])


@pytest.mark.parametrize("item", CLAIMS, ids=short)
def test_a_claim_is_read_and_written_again(item: str) -> None:
    assert parse_item(item) == CLAIMS[item]
    assert format_item(CLAIMS[item]) == item


def test_leading_zeros_are_read_as_numbers() -> None:
    assert parse_item("u-007-1-01-1-1") == Claim("u", 7, True, 1, 1, 1)


@pytest.mark.parametrize("item", MALFORMED, ids=short)
def test_what_is_no_claim_says_why(item: str) -> None:
    assert parse_item(item) == Malformed(MALFORMED[item])


@pytest.mark.parametrize("item", [None, True, 0, 1.5, b"u-0-1-1-1-1", [], {}, ["u-0-1-1-1-1"]])
def test_what_is_no_string_is_no_claim(item: object) -> None:
    assert parse_item(item) == Malformed("not a string")
