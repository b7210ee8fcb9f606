"""Instants as they are shown, and as they come from the database: exact to the microsecond."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from ledger.domain.instants import from_datetime, optional, parse_timestamp, to_text


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (1_800_000_000_999_999, "2027-01-15T08:00:00.999999Z"),
        (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
        (-62_135_596_800_000_000, "0001-01-01T00:00:00.000000Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_an_instant_is_shown_with_six_digits_and_read_back(instant: int, text: str) -> None:
    assert to_text(instant) == optional(instant) == text
    assert from_datetime(datetime.fromisoformat(text)) == instant


def test_a_missing_instant_is_shown_as_missing() -> None:
    assert optional(None) is None


def test_the_offset_of_a_value_does_not_matter() -> None:
    at = datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert from_datetime(at.astimezone(timezone(timedelta(hours=5, minutes=30)))) == 1_800_000_000_000_000


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2027-01-15T08:00:00Z", 1_800_000_000_000_000),
        ("2027-01-15t08:00:00.5z", 1_800_000_000_500_000),
        ("2027-01-15T13:30:00.000001+05:30", 1_800_000_000_000_001),
        ("2027-01-15T08:00:00.1234567891Z", 1_800_000_000_123_456),
    ],
)
def test_a_timestamp_is_read_with_any_offset_and_any_number_of_digits(text: str, instant: int) -> None:
    assert from_datetime(parse_timestamp(text)) == instant
    assert parse_timestamp(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "1800000000",
        "2027-01-15",
        "2027-01-15T08:00:00",
        "2027-01-15 08:00:00Z",
        "2027-13-15T08:00:00Z",
        "2027-01-15T24:00:00Z",
        "2027-01-15T08:00:61Z",
        "2027-01-15T08:00:00+99:00",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "٢٠٢٧-01-15T08:00:00Z",
    ],
)
def test_what_is_not_a_timestamp_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a timestamp \(RFC 3339, such as 2026-11-23T14:03:00Z\)$"):
        parse_timestamp(text)
