"""The events of alerts, of the source that an alert is of, or of `SERVICE`: what was on when, and who knew.

Nothing of who is online follows from them.
"""

from typing import TypeAlias

import msgspec

from ledger.domain.observation import Instant

SERVICE = "(service)"
"""Whose stream has the alerts that are of no source. It is not the name of a source, which has no brackets."""

Figures: TypeAlias = dict[str, str | int | float]
"""What an alert rests on, by name; instants (`…_at`) as text."""


class AlertBegan(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """Something is wrong, and has been for as long as its definition asks."""

    alert: str
    """Its id, the same in all its events."""
    name: str
    severity: str
    at: Instant
    since: Instant
    """When its condition began to hold."""
    subject: str = ""
    """What is wrong, where it is not the source as a whole: a node, a projection, a sink …"""
    figures: Figures = {}
    rests_on: tuple[int, ...] = ()
    """The positions of events that tell of it."""


class AlertAcknowledged(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """Somebody has said that they know."""

    alert: str
    name: str
    at: Instant
    by: str
    """The API key's name."""
    subject: str = ""


class AlertEnded(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """It is over, and has been for as long as the settings ask."""

    alert: str
    name: str
    at: Instant
    since: Instant
    """When its condition no longer held."""
    subject: str = ""
    figures: Figures = {}
    """As they were while it was on, the last ones."""


AlertEvent: TypeAlias = AlertBegan | AlertAcknowledged | AlertEnded
