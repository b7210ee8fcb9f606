"""Whom a call speaks to: the language of its sentences, and the zone of the instants that it takes and shows."""

import os
import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from ledger.languages import Language, language_of

_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d\d))?", re.ASCII)


@dataclass(frozen=True)
class Reader:
    """`zone` is None for the machine's own, where no name of it is known."""

    language: Language = "en"
    zone: tzinfo | None = UTC


_reader: ContextVar[Reader] = ContextVar("reader", default=Reader())  # noqa: B039  (frozen)


def reader() -> Reader:
    """Whom this call speaks to."""
    return _reader.get()


def meet(arguments: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
    """Begin a call: in the language that its arguments or the locale name, and in the machine's zone.

    The language is wanted before the arguments are understood, since what is wrong with them is told in it.
    """
    environ = os.environ if environ is None else environ
    found = _named(arguments)
    language = (found and language_of(found)) or language_of_locale(environ)
    _reader.set(Reader(language, _zone_of_machine(environ)))


def speak(language: Language) -> None:
    """From here on, speak this language."""
    _reader.set(replace(reader(), language=language))


def show_in(zone: tzinfo) -> None:
    """From here on, take and show instants in this zone."""
    _reader.set(replace(reader(), zone=zone))


def language_of_locale(environ: Mapping[str, str]) -> Language:
    """The language of a terminal: Chinese of a Chinese locale, else English."""
    locale = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "")
    return language_of(locale) or "en"


def zone_of(name: str) -> tzinfo:
    """The zone of an IANA name, an offset such as `+08:00`, or `local`. Raises ValueError: what it is not."""
    if name.lower() in {"utc", "z", "gmt"}:
        return UTC
    if name.lower() == "local":
        return _zone_of_machine(os.environ) or datetime.now().astimezone().tzinfo or UTC
    if (offset := _OFFSET.fullmatch(name)) is not None:
        return _fixed(*offset.groups())
    return _named_zone(name)


def _fixed(sign: str, hours: str, minutes: str | None) -> tzinfo:
    length = timedelta(hours=int(hours), minutes=int(minutes or 0))
    if length >= timedelta(hours=24) or int(minutes or 0) > 59:
        raise ValueError("is not an offset from UTC, such as +08:00")
    return timezone(-length if sign == "-" else length)


def _named_zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo  # noqa: PLC0415  (most calls name none)

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"is not a time zone, such as Asia/Shanghai, UTC or +08:00{_nearest_zone(name)}") from None


def _nearest_zone(name: str) -> str:
    import difflib  # noqa: PLC0415
    from zoneinfo import available_timezones  # noqa: PLC0415

    known = {zone.lower(): zone for zone in available_timezones()}
    by_city = {zone.rpartition("/")[2].lower(): zone for zone in known.values()}
    wanted = name.lower().replace(" ", "_")
    near = difflib.get_close_matches(wanted, known, n=1) or difflib.get_close_matches(wanted, by_city, n=1)
    return f"; did you mean {known.get(near[0]) or by_city[near[0]]}?" if near else ""


def _zone_of_machine(environ: Mapping[str, str]) -> tzinfo | None:
    """The zone of TZ where that names one; else the C library knows it, which is None here."""
    named = environ.get("TZ", "").lstrip(":")
    if not named:
        return None
    try:
        return zone_of(named)
    except ValueError:
        return None


def _named(arguments: Sequence[str]) -> str | None:
    """What the last `--lang` among the arguments names."""
    found = None
    for number, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--lang":
            found = value if equals else next(iter(arguments[number + 1 :]), None)
    return found
