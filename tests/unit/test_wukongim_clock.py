"""By how much a node's clock is off, by the whole seconds of its `Date`."""

import pytest

from ledger.domain.observation import SECOND
from ledger.sources.wukongim.clock import clock_offset

T = 1_800_000_000
"""Fri, 15 Jan 2027 08:00:00 GMT."""


@pytest.mark.parametrize(
    ("date", "asked", "answered", "offset"),
    [
        ("Fri, 15 Jan 2027 08:00:00 GMT", T, T + 0.2, 0.0),
        ("Fri, 15 Jan 2027 08:00:00 GMT", T + 0.9, T + 1.4, 0.0),
        ("Fri, 15 Jan 2027 08:00:07 GMT", T, T + 0.5, 6.5),
        ("Fri, 15 Jan 2027 07:59:50 GMT", T, T + 0.5, -9.0),
        ("Fri, 15 Jan 2027 09:00:00 +0100", T, T, 0.0),
        ("yesterday", T, T, None),
        ("Fri, 15 Jan 99999 08:00:00 GMT", T, T, None),
        (None, T, T, None),
    ],
)
def test_the_least_that_it_is_off(date: str | None, asked: float, answered: float, offset: float | None) -> None:
    assert clock_offset(date, round(asked * SECOND), round(answered * SECOND)) == offset
