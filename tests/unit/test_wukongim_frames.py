"""Frames of WuKongIM's binary protocol: bytes as the protocol's description has them, round trips, and garbage."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.sources.wukongim.protocol import reasons
from ledger.sources.wukongim.protocol.frames import (
    MAX_BODY_BYTES,
    Connack,
    Connect,
    Disconnect,
    Frame,
    FrameError,
    FrameReader,
    Ping,
    Pong,
    Unread,
    encode,
    split,
)

EXAMPLES: list[tuple[Connect | Connack | Ping | Pong | Disconnect, str]] = [
    (Ping(), "70"),
    (Pong(), "80"),
    (
        Connect("test", "", 1, "deviceID", "", 1, version=1),
        "10 1e 01 01 0008 6465766963654944 0004 74657374 0000 0000000000000001 0000",
    ),
    (
        Connack(1, 12345, b"ServerKey", b"Salt", 100, 0),
        "21 23 64 0000000000003039 01 0009 5365727665724b6579 0004 53616c74 0000000000000000",
    ),
    (Connack(2), "20 0d 0000000000000000 02 0000 0000"),
    (Disconnect(12, "login in other device"), "90 18 0c 0015 6c6f67696e20696e206f7468657220646576696365"),
]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
keys = st.binary(max_size=60)
whole = st.integers(-(2**63), 2**63 - 1)
bytes_ = st.integers(0, 255)
connects = st.builds(Connect, texts, texts, bytes_, texts, texts, whole, bytes_)
connacks = st.builds(Connack, bytes_, whole, keys, keys, st.none() | bytes_, st.none() | st.integers(0, 2**64 - 1))
frames = connects | connacks | st.builds(Disconnect, bytes_, texts) | st.just(Ping()) | st.just(Pong())


@pytest.mark.parametrize(("frame", "text"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_frames_are_the_bytes_that_servers_know(frame: Connect, text: str) -> None:
    data = bytes.fromhex(text)
    assert encode(frame) == data
    assert split(data) == (frame, len(data))


@given(st.lists(frames, max_size=6), st.lists(st.integers(0, 2000), max_size=8))
def test_what_was_encoded_is_read_again_however_it_is_cut(sent: list[Frame], cuts: list[int]) -> None:
    data = b"".join(encode(frame) for frame in sent if not isinstance(frame, Unread))
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = FrameReader()
    read = [frame for begin, end in pairwise(places) for frame in reader.feed(data[begin:end])]
    assert read == sent


@given(st.lists(st.binary(max_size=80), max_size=8))
def test_garbage_is_frames_or_an_error(parts: list[bytes]) -> None:
    reader = FrameReader()
    with suppress(FrameError):
        for part in parts:
            reader.feed(part)


def test_a_message_is_passed_over() -> None:
    reader = FrameReader()
    assert reader.feed(b"\x50\x05hell") == []
    assert reader.feed(b"o\x80") == [Unread(5, 5), Pong()]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x00\x01a", "kind 0"),
        (b"\x50\x81\x80\xc0\x00", f"a frame of {MAX_BODY_BYTES + 1} bytes"),
        (b"\x20\xff\xff\xff\xff\x01", "size is no number"),
        (b"\x20\x03\x00\x00\x00", "ends too early"),
        (b"\x20\x0e" + bytes(14), "ends too early"),
        (b"\x90\x05\x01\x00\x02\xff\xfe", "not UTF-8"),
    ],
)
def test_what_is_no_frame_is_said(data: bytes, why: str) -> None:
    with pytest.raises(FrameError, match=why):
        FrameReader().feed(data)


def test_the_size_waits_for_its_last_byte() -> None:
    assert split(b"\x20") is None
    assert split(b"\x20\x80\x80\x80") is None
    assert split(b"") is None


def test_a_text_that_does_not_fit_is_refused() -> None:
    with pytest.raises(FrameError, match="a text of 40000 bytes"):
        encode(Disconnect(1, "x" * 40_000))


def test_reasons_are_words_with_their_code() -> None:
    assert reasons.in_words(2).startswith("authentication failed")
    assert reasons.in_words(19) == "the user is banned (WuKongIM's reason code 19)"
    assert "reason code 200" in reasons.in_words(200)
