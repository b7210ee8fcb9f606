"""Instants as they are shown: RFC 3339, UTC, six digits after the second."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, TypeAlias

import msgspec

from ledger.domain.observation import SECOND, Instant

_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt]([01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
"""Digits alone, which libraries take for seconds since 1970, are none."""

NOT_A_TIMESTAMP = "not a timestamp (RFC 3339, such as 2026-11-23T14:03:00Z)"
Timestamp: TypeAlias = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
"""An instant as `to_text` writes it, in a struct that is encoded."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_IN_UTC = _EPOCH.replace(tzinfo=None)


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    # Not by strftime, which leaves out the zeros of a year below 1000.
    return (_EPOCH_IN_UTC + timedelta(seconds=seconds)).isoformat()


@lru_cache(maxsize=4096)
def to_text(instant: Instant) -> str:
    """`2026-11-23T08:20:46.000123Z`."""
    seconds, microseconds = divmod(instant, SECOND)
    return f"{_second(seconds)}.{microseconds:06d}Z"


def optional(instant: Instant | None) -> str | None:
    """The same, of an instant that may be missing."""
    return None if instant is None else to_text(instant)


def from_datetime(value: datetime) -> Instant:
    """Microseconds since the epoch, exactly. The value must know its offset."""
    return (value - _EPOCH) // timedelta(microseconds=1)


def to_datetime(instant: Instant) -> datetime:
    """The same instant as a datetime, in UTC."""
    return _EPOCH + timedelta(microseconds=instant)


def parse_timestamp(text: str) -> datetime:
    """The instant of an RFC 3339 timestamp, in UTC. Raises ValueError, which says what it is not."""
    if not _RFC_3339.fullmatch(text):
        raise ValueError(NOT_A_TIMESTAMP)
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(NOT_A_TIMESTAMP) from error
