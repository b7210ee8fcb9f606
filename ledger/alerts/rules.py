"""The rules: from the figures of an instant, each alert's conditions. Pure."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from ledger.alerts import rules_of_service, rules_of_sources
from ledger.alerts.condition import Condition
from ledger.alerts.definitions import DEFINITIONS
from ledger.alerts.facts import Facts
from ledger.alerts.thresholds import Thresholds


class Found(NamedTuple):
    """What holds, and the names of the alerts of which too little is known."""

    conditions: list[Condition]
    unknown: frozenset[str]
    """Of these it is not known whether they are over."""


def conditions(facts: Facts, thresholds: Thresholds) -> Found:
    """The conditions of every alert that is not off."""
    found: list[Condition] = []
    unknown = set[str]()
    for definition in DEFINITIONS:
        if definition.name in thresholds.off:
            continue
        told = RULES[definition.name](facts, partial(thresholds.of, definition.name))
        if told is None:
            unknown.add(definition.name)
        else:
            found += told
    return Found(found, frozenset(unknown | _counted_too_shortly(facts, thresholds)))


def _counted_too_shortly(facts: Facts, thresholds: Thresholds) -> set[str]:
    """Alerts about what is counted in a window that an instance has not seen all of, since it has just begun."""
    drifts = min((source.counting_seconds for source in facts.sources or ()), default=float("inf"))
    counted = {"drift_rate": drifts, "webhook_secret_unknown": facts.counting_seconds}
    return {name for name, seconds in counted.items() if seconds < thresholds.of(name, "window_seconds")}


RULES: dict[str, Callable[[Facts, Callable[[str], float]], Iterable[Condition] | None]] = {
    **rules_of_sources.RULES,
    **rules_of_service.RULES,
}
"""By name; None where nothing is known."""
