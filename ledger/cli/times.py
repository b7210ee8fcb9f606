"""Instants as people type them and read them, in the reader's zone."""

import contextlib
import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from ledger.cli.reader import reader
from ledger.cli.words import told
from ledger.domain.instants import parse_timestamp

NOT_A_TIMESTAMP = (
    "not a timestamp (such as 14:03, yesterday 14:03, 2026-11-29 14:03, -2h, or RFC 3339: 2026-11-29T14:03:00Z)"
)
_TYPED = re.compile(
    r"(?:(?P<day>\d{4}-\d\d-\d\d(?=[Tt ]|$)|[^\W\d]+?(?=[ \d]|$))[Tt ]*)?(?P<clock>(?:\d{1,2}:[\d:.]+)?)"
)
_WITHOUT_SECONDS = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d)([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DAYS = {"today": 0, "yesterday": -1, "今天": 0, "昨天": -1, "前天": -2}
_AGO = re.compile(r"-((?:\d+(?:\.\d+)?[dhms])+)", re.ASCII)
_PART = re.compile(r"([\d.]+)([dhms])", re.ASCII)
_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}


def parse(text: str, now: datetime | None = None, *, is_past: bool = False) -> datetime:
    """The instant, in UTC, that somebody typed. Raises ValueError, which says what it is not.

    With `is_past`, a time of today that is still to come is refused: yesterday's is more likely meant.
    """
    now = datetime.now(UTC) if now is None else now
    text = text.strip()
    with contextlib.suppress(ValueError):
        return parse_timestamp(_WITHOUT_SECONDS.sub(r"\1:00\2", text).replace(" ", "T", 1))
    if text.lower() in {"now", "现在"}:
        return now
    if (ago := _AGO.fullmatch(text)) is not None:
        return _earlier(now, ago[1])
    found, day_is_named = _on_the_clock(text, now)
    if is_past and not day_is_named and found > now:
        raise ValueError(f"still to come today; did you mean 'yesterday {text}'?")
    return found


def shown(at: str | datetime, previous: str | datetime | None = None, places: int = 3) -> str:
    """An instant in the reader's zone, `2026-11-29 14:03:01.123`, to so many digits after the second (3 or 0).

    Without its day where that is the day of the instant that is shown before it. Where the zone's offset was another
    one than it is now (`header` tells that), with its own.
    """
    local = _local(at)
    written = local.strftime("%H:%M:%S") + (f".{local.microsecond // 1000:03d}" if places else "")
    if local.utcoffset() != _local(datetime.now(UTC)).utcoffset():
        written += _offset(local)
    if previous and _local(previous).date() == local.date():
        return written
    return f"{local.date().isoformat()} {written}"


def in_full(at: str | datetime) -> str:
    """The same to the second, for a sentence: with its offset, `2026-11-29 14:03:01+08:00`."""
    local = _local(at)
    return local.replace(tzinfo=None).isoformat(" ", "seconds") + (_offset(local) or "Z")


def header(name: str) -> str:
    """The title of a column of instants: with the zone, `since (UTC+08:00)`."""
    return f"{told(name)} (UTC{_offset(_local(datetime.now(UTC)))})"


def _local(at: str | datetime) -> datetime:
    instant = datetime.fromisoformat(at) if isinstance(at, str) else at
    return instant.astimezone(reader().zone)


def _offset(local: datetime) -> str:
    """`+08:00`; nothing for UTC itself."""
    return local.strftime("%z")[:3] + ":" + local.strftime("%z")[3:5] if local.utcoffset() else ""


def _earlier(now: datetime, length: str) -> datetime:
    try:
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(length))
        return now - timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        raise ValueError(NOT_A_TIMESTAMP) from None


def _on_the_clock(text: str, now: datetime) -> tuple[datetime, bool]:
    """The instant of a day, a time of day, or both, and whether a day was named. Raises ValueError."""
    found = _TYPED.fullmatch(text)
    if not text or found is None:
        raise ValueError(NOT_A_TIMESTAMP)
    day, clock = found["day"], found["clock"] or "00:00"
    try:
        naive = datetime.combine(_day(day, now), time.fromisoformat(f"0{clock}" if clock[1] == ":" else clock))
        return _in_zone(naive, reader().zone), day is not None
    except _Unclear:
        raise
    except (ValueError, OverflowError):
        raise ValueError(NOT_A_TIMESTAMP) from None


def _day(name: str | None, now: datetime) -> date:
    today = _local(now).date()
    if name is None:
        return today
    if name.lower() in _DAYS:
        return today + timedelta(days=_DAYS[name.lower()])
    return date.fromisoformat(name)


class _Unclear(ValueError):
    """A time of day that a change of the clocks brings twice, or leaves out."""


def _in_zone(naive: datetime, zone: tzinfo | None) -> datetime:
    """The instant at which the zone's clocks show this. Raises ValueError where there are none, or two."""
    if zone is None:
        candidates = [naive.replace(fold=fold).astimezone() for fold in (0, 1)]
    else:
        candidates = [naive.replace(tzinfo=zone, fold=fold) for fold in (0, 1)]
    first, second = candidates
    before, after = first.strftime("%z"), second.strftime("%z")
    if before != after:
        which = " or ".join(each.isoformat() for each in candidates)
        if first.timestamp() < second.timestamp():
            raise _Unclear(f"a time that came twice, when clocks were set back: write {which}")
        raise _Unclear(f"a time that never was, since clocks were set forward: write {which}")
    return first.astimezone(UTC)
