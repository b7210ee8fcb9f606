"""Lines over the last day: a value for each hour, as the charts' script and the table beside it take them."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from ledger.console.window import micros
from ledger.domain.instants import to_text
from ledger.domain.observation import SECOND, Instant

HOUR = 3_600 * SECOND
HOURS = 24


class Chart(NamedTuple):
    """One line: `at` are the begins of the hours, `values` what is known of them."""

    label: str
    at: list[str]
    values: list[float | None]

    @property
    def data(self) -> str:
        """The chart as its script reads it: seconds since 1970, and values."""
        seconds = [_seconds(each) for each in self.at]
        return msgspec.json.encode({"label": str(self.label), "x": seconds, "y": self.values}).decode()

    @property
    def rows(self) -> list[tuple[str, float]]:
        """The hours of which something is to be said."""
        return [(at, value) for at, value in zip(self.at, self.values, strict=True) if value]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(self.values)


def hourly(
    now: Instant, label: Any, found: Iterable[tuple[str, float]], missing: float | None = 0, hours: int = HOURS
) -> Chart:
    """A value for each hour up to now, by the instant that an hour begins at; hours without one are `missing`."""
    values = dict(found)
    first = (now // HOUR - hours + 1) * HOUR
    at = [to_text(first + number * HOUR) for number in range(hours)]
    return Chart(label, at, [values.get(each, missing) for each in at])


def _seconds(text: str) -> int:
    return micros(text) // SECOND
