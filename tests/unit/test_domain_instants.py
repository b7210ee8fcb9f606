"""Instants as they are shown, and as they come from the database: exact to the microsecond."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from ledger.domain.instants import from_datetime, optional, to_text


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
