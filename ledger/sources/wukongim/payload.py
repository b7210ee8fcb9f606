"""WuKongIM's `user.onlinestatus` body: a JSON array of strings, read so that no bad element costs a good one."""

import base64
import hashlib
import json
from typing import NamedTuple, NoReturn

import msgspec

from ledger.domain.observation import Claim, Malformed, parse_item

EVENT_NAME = "user.onlinestatus"


class Element(msgspec.Struct, frozen=True, gc=False):
    """One element of the array: its claim, or why there is none, and its text (of a rejected one the JSON text).

    Of a million of them the garbage collector would look at each again and again.
    """

    parsed: Claim | Malformed
    raw: str


class KeptText(NamedTuple):
    """A rejected text cut at a bound: what is kept of it, its whole size in bytes, its SHA-256 where it was cut."""

    raw: str
    size: int
    digest: str | None


class NotAnArray(NamedTuple):
    """The body is not a JSON array, and why."""

    reason: str


_quoted = json.encoder.encode_basestring
"""What `json.dumps(text, ensure_ascii=False)` comes to, at a third of its price."""

_STRINGS = msgspec.json.Decoder(list[str])


def parse_body(body: bytes) -> list[Element] | NotAnArray:
    """The elements of a webhook's body in order."""
    try:
        texts = _STRINGS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _parse_odd(body)
    elements = []
    for text in texts:
        parsed = parse_item(text)
        elements.append(Element(parsed, text if isinstance(parsed, Claim) else _quoted(text)))
    return elements


def _parse_odd(body: bytes) -> list[Element] | NotAnArray:
    """Bodies that are not plain arrays of strings, element by element, with the exact text of each.

    The standard library's decoder takes what msgspec refuses whole: lone surrogates and numbers of any length.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        return NotAnArray(f"not UTF-8 at byte {error.start}")
    try:
        return _scan(text)
    except json.JSONDecodeError as error:
        return NotAnArray(f"not JSON: {error.msg} at character {error.pos}")
    except RecursionError:
        return NotAnArray("nested too deeply")


def _scan(text: str) -> list[Element] | NotAnArray:
    # Numbers stay text: none of them is a claim, and int() refuses those of more than 4,300 digits.
    decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_constant)
    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        _, end = decoder.raw_decode(text, at)
        _expect_end(text, end)
        return NotAnArray("not an array")
    elements: list[Element] = []
    at = _skip(text, at + 1)
    if text[at : at + 1] == "]":
        _expect_end(text, at + 1)
        return elements
    while True:
        value, end = decoder.raw_decode(text, at)
        is_string = text[at] == '"'
        parsed = parse_item(value) if is_string else Malformed("not a string")
        elements.append(Element(parsed, value if isinstance(parsed, Claim) else text[at:end]))
        at = _skip(text, end)
        if text[at : at + 1] == "]":
            _expect_end(text, at + 1)
            return elements
        if text[at : at + 1] != ",":
            raise json.JSONDecodeError("expected ',' or ']'", text, at)
        at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\n", "\r"):
        at += 1
    return at


def _expect_end(text: str, at: int) -> None:
    at = _skip(text, at)
    if at != len(text):
        raise json.JSONDecodeError("more after the end", text, at)


def _no_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)


def keep_text(text: str, bound: int) -> KeptText:
    """A rejected element's text, cut at `bound` bytes with its digest noted."""
    data = text.encode(errors="surrogatepass")
    if len(data) <= bound:
        return KeptText(text, len(data), None)
    return KeptText(data[:bound].decode(errors="ignore"), len(data), hashlib.sha256(data).hexdigest())


def keep_body(body: bytes, bound: int) -> str:
    """A rejected body's first `bound` bytes, base64, since it may be anything."""
    return base64.b64encode(body[:bound]).decode()
