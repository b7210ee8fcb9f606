"""The part of time that a page shows: how long, until when, and the marks of its axis."""

from collections.abc import Mapping
from typing import NamedTuple

from ledger.console.visit import PageRefused
from ledger.domain.instants import from_datetime, parse_timestamp, to_text
from ledger.domain.observation import SECOND, Instant

SPANS: Mapping[str, int] = {"1h": 3_600, "6h": 21_600, "24h": 86_400, "7d": 604_800}
"""Seconds, by the name that addresses have."""
DEFAULT_SPAN = "24h"
MOST_TICKS = 7
_STEPS = (600, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400)


class Tick(NamedTuple):
    """A mark of the axis: where, in percent, and which instant."""

    x: float
    at: str


class Window(NamedTuple):
    """From `begin` to `end`, which is now where `is_now`."""

    begin: Instant
    end: Instant
    span: str
    is_now: bool

    def share(self, at: Instant) -> float:
        """Where an instant lies, in percent; one outside lies at the nearer edge."""
        return round(min(1.0, max(0.0, (at - self.begin) / (self.end - self.begin))) * 100, 3)

    @property
    def ticks(self) -> list[Tick]:
        """Round instants, as many as a narrow screen has room for."""
        seconds = SPANS[self.span]
        step = next((each for each in _STEPS if seconds / each <= MOST_TICKS), _STEPS[-1]) * SECOND
        first = -(-self.begin // step) * step
        return [Tick(self.share(at), to_text(at)) for at in range(first, self.end + 1, step)]

    @property
    def begin_text(self) -> str:
        """As the API writes it."""
        return to_text(self.begin)

    @property
    def end_text(self) -> str:
        """As the API writes it."""
        return to_text(self.end)

    @property
    def before(self) -> str:
        """Where the window before this one ends."""
        return to_text(self.begin)

    def after(self, now: Instant) -> str | None:
        """Where the next one ends; None where that is now."""
        end = self.end + SPANS[self.span] * SECOND
        return None if end >= now else to_text(end)


def window(query: Mapping[str, str], now: Instant) -> Window:
    """The window that an address asks for by `span` and `until`. Raises Refused."""
    span = query.get("span") or DEFAULT_SPAN
    if span not in SPANS:
        span = DEFAULT_SPAN
    until = instant_of(query, "until")
    is_now = until is None or until >= now
    end = now if until is None or is_now else until
    return Window(end - SPANS[span] * SECOND, end, span, is_now)


def instant_of(query: Mapping[str, str], name: str) -> Instant | None:
    """An instant of an address, RFC 3339. Raises Refused where it is none."""
    text = query.get(name)
    if not text:
        return None
    try:
        return from_datetime(parse_timestamp(text))
    except ValueError as error:
        raise PageRefused(422, "refused.instant", name=name) from error


def micros(text: str) -> Instant:
    """The instant that the API wrote."""
    return from_datetime(parse_timestamp(text))
