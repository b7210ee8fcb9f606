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
    """What holds, and the names of the alerts of which nothing is known now."""

    conditions: list[Condition]
    unknown: frozenset[str]


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
    return Found(found, frozenset(unknown))


RULES: dict[str, Callable[[Facts, Callable[[str], float]], Iterable[Condition] | None]] = {
    **rules_of_sources.RULES,
    **rules_of_service.RULES,
}
"""By name; None where nothing is known."""
