"""The form of spool files against whatever may happen to them: cut off anywhere, any byte altered, any chunk read."""

from hypothesis import example, given
from hypothesis import strategies as st

from ledger.spool.format import (
    FILE_HEAD_BYTES,
    SALT_BYTES,
    Damaged,
    FileHead,
    Found,
    SpooledWebhook,
    file_head,
    read_file_head,
    record,
    records,
)

SALT = bytes(range(SALT_BYTES))
OTHER_SALT = bytes(SALT_BYTES)
HEAD = FileHead("11111111-2222-3333-4444-555555555555", SALT)


def _webhook(number: int, body: bytes) -> SpooledWebhook:
    return SpooledWebhook(f"d{number}", "main", "n1", 1_700_000_000_000_000 + number, body)


# A sender may write what looks like a record: of another file, or of this one's form.
BODIES = st.one_of(
    st.binary(max_size=60),
    st.just(record(OTHER_SALT, _webhook(7, b"[]")) * 2),
    st.just(b"\xf7PLR" * 5),
)
WEBHOOKS = st.lists(BODIES, min_size=1, max_size=6).map(
    lambda bodies: [_webhook(number, body) for number, body in enumerate(bodies)]
)


def written(webhooks: list[SpooledWebhook]) -> bytes:
    return b"".join(record(SALT, webhook) for webhook in webhooks)


def read(data: bytes) -> tuple[list[SpooledWebhook], list[Damaged]]:
    found = list(records(SALT, data))
    return [each.webhook for each in found if isinstance(each, Found)], [
        each for each in found if isinstance(each, Damaged)
    ]


@given(WEBHOOKS)
def test_what_was_written_is_read(webhooks: list[SpooledWebhook]) -> None:
    assert read(written(webhooks)) == (webhooks, [])


@given(WEBHOOKS, st.data())
def test_cut_off_anywhere_all_before_is_read_and_the_tail_is_said(
    webhooks: list[SpooledWebhook], data: st.DataObject
) -> None:
    whole = written(webhooks)
    cut = data.draw(st.integers(0, len(whole)))
    ends = [len(written(webhooks[: number + 1])) for number in range(len(webhooks))]
    kept = sum(end <= cut for end in ends)
    last = ends[kept - 1] if kept else 0
    tail = [Damaged(last, cut, is_tail=True)] if cut > last else []
    assert read(whole[:cut]) == (webhooks[:kept], tail)


@given(WEBHOOKS, st.data(), st.integers(1, 255))
def test_with_a_byte_altered_all_but_its_record_is_read(
    webhooks: list[SpooledWebhook], data: st.DataObject, change: int
) -> None:
    whole = bytearray(written(webhooks))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= change
    hit = next(n for n in range(len(webhooks)) if place < len(written(webhooks[: n + 1])))
    begin, end = len(written(webhooks[:hit])), len(written(webhooks[: hit + 1]))
    found, damaged = read(bytes(whole))
    assert found == webhooks[:hit] + webhooks[hit + 1 :]
    assert damaged == [Damaged(begin, end, is_tail=hit == len(webhooks) - 1)]


@given(WEBHOOKS, st.binary(max_size=40), st.data())
def test_bytes_in_between_cost_no_record(webhooks: list[SpooledWebhook], junk: bytes, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(webhooks)))
    found, damaged = read(written(webhooks[:number]) + junk + written(webhooks[number:]))
    assert found == webhooks
    assert sum(each.end - each.begin for each in damaged) == len(junk)


@given(st.integers(0, FILE_HEAD_BYTES - 1), st.integers(1, 255))
@example(0, 1)
def test_the_head_is_read_whatever_byte_of_it_is_altered(place: int, change: int) -> None:
    head = bytearray(file_head(HEAD))
    head[place] ^= change
    assert read_file_head(bytes(head)) == HEAD


@given(st.binary(max_size=FILE_HEAD_BYTES))
@example(file_head(HEAD)[: FILE_HEAD_BYTES // 2 - 1])
def test_what_is_no_head_is_none(data: bytes) -> None:
    assert read_file_head(data) is None


def test_a_whole_record_that_holds_something_else_is_damaged() -> None:
    # Its checksums are right: another version wrote it.
    whole = record(SALT, _webhook(1, b"[]"))
    other = record(SALT, SpooledWebhook(1, "main", "n1", 0, b"[]"))  # type: ignore[arg-type]
    assert read(other + whole) == ([_webhook(1, b"[]")], [Damaged(0, len(other), is_tail=False)])
