"""Pseudonyms: the same for the same, in slot zero where the uid is, and no uid is left anywhere in a slice."""

import base64
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar
from zlib import crc32

import hypothesis.strategies as st
import msgspec
from hypothesis import given, settings

from ledger.domain.event_types import Event
from ledger.domain.events import ItemRejected, WebhookObserved
from ledger.domain.observation import Claim, parse_item
from ledger.domain.presence import Presence
from ledger.domain.reconciliation_events import TierSet
from ledger.slices.form import Slice
from ledger.slices.pseudonymising import pseudonymised, renamed
from ledger.slices.pseudonyms import Pseudonyms
from tests.support.overriding import override_end, overriding
from tests.support.scenario import format_item
from tests.support.slices import MAPPER, body_rejected, event_of, eventful, replayed, slice_of, written

EventT = TypeVar("EventT", bound=Event)

NAMES = Pseudonyms("a key")

AT = 1_800_000_000_000_000

# No text of the form itself has such characters, so that whatever is found is a user's name.
uids = st.text(st.characters(min_codepoint=0xC0, max_codepoint=0x17F, categories=["Ll", "Lu"]), min_size=4, max_size=8)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_a_pseudonym_is_an_item_s_uid_in_the_same_slot(uid: str) -> None:
    name = NAMES.pseudonym(uid)
    assert name == Pseudonyms("a key").pseudonym(uid) != Pseudonyms("another").pseudonym(uid)
    assert (crc32(name.encode()) % 64 == 0) == (crc32(uid.encode()) % 64 == 0)
    claim = Claim(name, 0, True, 1, 1, 1)
    assert parse_item(format_item(claim)) == claim


@given(st.lists(st.text(), unique=True, max_size=20))
def test_different_users_have_different_names(uids: list[str]) -> None:
    assert len({NAMES.pseudonym(uid) for uid in uids}) == len(uids)


@settings(max_examples=20)
@given(st.lists(uids, min_size=4, max_size=4, unique=True), st.integers(0, 34))
def test_no_uid_is_left_in_a_slice(uids: list[str], start: int) -> None:
    named = slice_of(eventful(uids=uids).kept, start)
    named = named._replace(header=msgspec.structs.replace(named.header, users=tuple(uids)))
    with TemporaryDirectory() as folder:
        text = written(pseudonymised(named, NAMES, MAPPER), Path(folder) / "f").read_text(encoding="utf-8")
        plain = written(named, Path(folder) / "g").read_text(encoding="utf-8")
    for uid in uids:
        assert uid in plain
        assert uid not in text
        assert NAMES.pseudonym(uid) in text


def test_verdicts_counts_and_instants_stay() -> None:
    plain = slice_of(eventful().kept, 20)
    renamed_slice = pseudonymised(plain, NAMES, MAPPER)
    lines = list(renamed_slice.lines)
    places = [(line.position, line.version, line.event_kind, line.recorded_at) for line in lines]
    assert places == [(line.position, line.version, line.event_kind, line.recorded_at) for line in plain.lines]
    again = replayed(Slice(renamed_slice.header, lines))
    assert (again.differing, again.not_repeatable.total()) == (0, replayed(plain).not_repeatable.total())
    assert again.recorded == replayed(plain).recorded
    stories = {uid: pair.recorded for uid, pair in again.side_by_side.users.items()}
    assert stories == {NAMES.pseudonym(uid): pair.recorded for uid, pair in replayed(plain).side_by_side.users.items()}


def renamed_as(event: EventT) -> EventT:
    found = renamed(event, NAMES)
    assert isinstance(found, type(event))
    return found


def test_an_item_keeps_its_numbers_as_they_were_written() -> None:
    [observed] = [event_of(line) for line in slice_of(eventful().kept).lines if line.position == 6]
    assert isinstance(observed, WebhookObserved)
    odd = msgspec.structs.replace(observed, raw="al-ice-00-1-017-1-1")
    assert renamed_as(odd).raw == NAMES.pseudonym("al-ice") + "-00-1-017-1-1"
    # A version that took more for items than this one does could have left this.
    assert "al-ice" not in renamed_as(msgspec.structs.replace(observed, raw="al-ice")).raw


def test_what_was_rejected_keeps_its_size_and_tells_no_more_than_whether_it_is_the_same() -> None:
    item = ItemRejected(
        delivery="d", node="n1", item=0, received_at=AT, reason="not a string", raw='"alice"', size=7, digest="ab" * 32
    )
    other = renamed_as(item)
    assert (other.size, other.raw) == (7, renamed_as(item).raw)
    assert other.raw.startswith("redacted-")
    assert other.digest is not None
    assert len(other.digest) == 64
    assert other.digest != item.digest
    assert renamed_as(msgspec.structs.replace(item, digest=None)).digest is None
    body = renamed_as(body_rejected(AT, "alice"))
    assert body.size == 5
    assert b"redacted-" in base64.b64decode(body.raw_base64)


def test_who_set_a_tier_is_not_told() -> None:
    event = TierSet(received_at=AT, tier="vip", by="alice's key", status_before="online", status_after="online")
    assert "alice" not in renamed_as(event).by


def test_nor_who_overrode_a_user_and_why() -> None:
    said = overriding(Presence("alice"), "online", AT)
    told = renamed_as(msgspec.structs.replace(said, by="alice's key", reason="alice called"))
    assert told == msgspec.structs.replace(said, by=told.by, reason=told.reason)
    assert "alice" not in told.by + told.reason
    ended = override_end(Presence("alice"), "online", "deleted", AT, "alice's key")
    assert "alice" not in (renamed_as(ended).by or "alice")
    assert renamed_as(msgspec.structs.replace(ended, by=None)).by is None
