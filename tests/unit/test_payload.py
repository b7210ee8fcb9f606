"""WuKongIM's body: every odd array and every odd element, with the exact text kept of what is no claim."""

import base64
import hashlib
import json

import pytest

from ledger.domain.observation import Claim, Malformed
from ledger.sources.wukongim.payload import Element, KeptText, NotAnArray, keep_body, keep_text, parse_body

GOOD = "u-0-1-1-1-1"
CLAIM = Claim("u", 0, True, 1, 1, 1)
GOOD_ELEMENT = Element(CLAIM, GOOD)
NO_SHAPE = Malformed("not uid-flag-online-connId-count-count")
NO_STRING = Malformed("not a string")


def elements(body: bytes) -> list[Element]:
    parsed = parse_body(body)
    assert isinstance(parsed, list)
    return parsed


def test_plain_arrays_are_read_in_order() -> None:
    assert elements(b'["u-0-1-1-1-1","v-1-0-2-0-0"]') == [
        GOOD_ELEMENT,
        Element(Claim("v", 1, False, 2, 0, 0), "v-1-0-2-0-0"),
    ]


@pytest.mark.parametrize("body", [b"[]", b" [ ] ", b"\t[\r\n]\n"])
def test_an_empty_array_has_no_elements(body: bytes) -> None:
    assert elements(body) == []


def test_escapes_and_unicode_are_one_string() -> None:
    assert (
        elements('["用户-0-1-1-1-1", "\\u7528\\u6237-0-1-1-1-1"]'.encode())
        == [Element(Claim("用户", 0, True, 1, 1, 1), "用户-0-1-1-1-1")] * 2
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('""', NO_SHAPE),
        ('"a"', NO_SHAPE),
        ('"\\""', NO_SHAPE),
        ('"a\\nb"', NO_SHAPE),
        ("1", NO_STRING),
        ("-1.50e+3", NO_STRING),
        ("9" * 5000, NO_STRING),
        ("1." + "0" * 5000, NO_STRING),
        ("1e999999", NO_STRING),
        ("null", NO_STRING),
        ("true", NO_STRING),
        ("[]", NO_STRING),
        ('["u-0-1-1-1-1"]', NO_STRING),
        ('{"a" : [1, {"b":null}]}', NO_STRING),
        ('"\\ud800-0-1-1-1-1"', Malformed("uid holds a lone surrogate")),
        ('"\\udfff\\ud800-0-1-1-1-1"', Malformed("uid holds a lone surrogate")),
        ('"\\u0000-0-1-1-1-1"', Malformed("uid holds NUL")),
        (f'"u-0-1-{2**63}-1-1"', Malformed("number beyond 2^63")),
        ('"u-256-1-1-1-1"', Malformed("device flag above 255")),
    ],
    ids=lambda value: ascii(value)[:25],
)
@pytest.mark.parametrize("layout", ["[{good},{odd},{good}]", "[ {good} ,\n\t{odd} , {good} ]\r\n"])
def test_a_bad_element_costs_no_good_one_and_is_kept_as_json(text: str, why: Malformed, layout: str) -> None:
    body = layout.format(good=f'"{GOOD}"', odd=text).encode()
    first, odd, last = elements(body)
    assert (first, last) == (GOOD_ELEMENT, GOOD_ELEMENT)
    assert odd.parsed == why
    assert parse_body(b"[" + odd.raw.encode() + b"]") == [odd]


@pytest.mark.parametrize("text", ["-1.50e+3", "9" * 5000, '{"a" : [1, {"b":null}]}', '"\\ud800-0-1-1-1-1"'])
def test_what_only_the_careful_way_reads_is_kept_letter_for_letter(text: str) -> None:
    assert elements(f'["{GOOD}", {text} ]'.encode())[1].raw == text


def test_a_surrogate_pair_is_one_character() -> None:
    assert elements(b'[1,"\\ud83d\\ude00-0-1-1-1-1"]')[1].parsed == Claim("😀", 0, True, 1, 1, 1)


def test_the_text_of_a_malformed_string_of_a_plain_array_is_json_too() -> None:
    (element,) = elements('["é\\"\\n"]'.encode())
    assert json.loads(element.raw) == 'é"\n'


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'["\xff-0-1-1-1-1"]', "not UTF-8 at byte 2"),
        (b"\xff\xfe[\x00]\x00", "not UTF-8 at byte 0"),
        (b'["\xed\xa0\x80"]', "not UTF-8 at byte 2"),
        (b"", "not JSON: Expecting value at character 0"),
        (b"   ", "not JSON: Expecting value at character 3"),
        (b"event=1", "not JSON: Expecting value at character 0"),
        (b"[", "not JSON: Expecting value at character 1"),
        (b'["u-0-1-1-1-1"', "not JSON: expected ',' or ']' at character 14"),
        (b'["u-0-1-1-1-1",', "not JSON: Expecting value at character 15"),
        (b'["u-0-1-1-1-1",]', "not JSON: Expecting value at character 15"),
        (b"[,]", "not JSON: Expecting value at character 1"),
        (b"[1 2]", "not JSON: expected ',' or ']' at character 3"),
        (b"[1][2]", "not JSON: more after the end at character 3"),
        (b"[] x", "not JSON: more after the end at character 3"),
        (b'"u-0-1-1-1-1"]', "not JSON: more after the end at character 13"),
        (b"[NaN]", "not JSON: NaN is not JSON at character 0"),
        (b"[-Infinity]", "not JSON: -Infinity is not JSON at character 0"),
        (b"['u-0-1-1-1-1']", "not JSON: Expecting value at character 1"),
        (b'["a\nb"]', "not JSON: Invalid control character at at character 3"),
        (b'["\\x"]', "not JSON: Invalid \\escape at character 2"),
        (b"\xef\xbb\xbf[]", "not JSON: Expecting value at character 0"),
        (b"{}", "not an array"),
        (b'{"status":200}', "not an array"),
        (b"null", "not an array"),
        (b'"u-0-1-1-1-1"', "not an array"),
        (b" 1 ", "not an array"),
        (b"[" * 200_000, "nested too deeply"),
        (b'["u-0-1-1-1-1",' + b'{"a":' * 200_000, "nested too deeply"),
    ],
    ids=lambda value: ascii(value)[:25],
)
def test_what_is_no_array_says_why(body: bytes, reason: str) -> None:
    assert parse_body(body) == NotAnArray(reason)


def test_a_text_within_the_bound_is_kept_whole() -> None:
    assert keep_text("é" * 5, 10) == KeptText("é" * 5, 10, None)


def test_a_longer_one_is_cut_at_a_character_with_its_size_and_digest() -> None:
    text = "aé€😀" * 100
    kept = keep_text(text, 11)
    assert kept == KeptText("aé€😀a", 1000, hashlib.sha256(text.encode()).hexdigest())


def test_a_text_with_a_lone_surrogate_can_be_cut() -> None:
    text = "a\ud800" * 10
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    kept = keep_text(text, 8)
    assert (kept.size, kept.digest) == (40, digest)
    assert kept.raw.encode().decode() == kept.raw


def test_a_body_is_kept_as_it_is_up_to_the_bound() -> None:
    assert base64.b64decode(keep_body(b"\xff\x00abc", 4)) == b"\xff\x00ab"
