"""The rules: from the figures of an instant, each alert's conditions. Pure."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from ledger.alerts import rules_of_service, rules_of_sources
from ledger.alerts.condition import Condition, NotKnown
from ledger.alerts.definitions import DEFINITIONS
from ledger.alerts.facts import AlertFacts
from ledger.alerts.thresholds import Thresholds

LEADER_TELLS = ("drift_rate", "webhooks_silent", "query_api_failing", "token_missing", "clock_skew")
"""Of a source; of what else it tells the rules themselves say that they do not know."""


class RuleFindings(NamedTuple):
    """What holds, and the alerts of which too little is known."""

    conditions: list[Condition]
    unknown: frozenset[NotKnown]


def conditions(facts: AlertFacts, thresholds: Thresholds) -> RuleFindings:
    """The conditions of every alert that is not off."""
    found: list[Condition] = []
    unknown = set[NotKnown]()
    for definition in DEFINITIONS:
        if definition.name in thresholds.off:
            continue
        told = RULES[definition.name](facts, partial(thresholds.of, definition.name))
        if told is None:
            unknown.add(definition.name)
        else:
            found += told
    return RuleFindings(found, frozenset(unknown | _counted_too_shortly(facts, thresholds) | _not_told(facts)))


def _counted_too_shortly(facts: AlertFacts, thresholds: Thresholds) -> set[NotKnown]:
    """Alerts about what is counted in a window that an instance has not seen all of, since it has just begun."""
    window = thresholds.of("drift_rate", "window_seconds")
    found: set[NotKnown] = {
        ("drift_rate", source.name) for source in facts.sources or () if source.counting_seconds < window
    }
    if facts.counting_seconds < thresholds.of("webhook_secret_unknown", "window_seconds"):
        found.add("webhook_secret_unknown")
    return found


def _not_told(facts: AlertFacts) -> set[NotKnown]:
    """Everything of a source that cannot be read, and of one without a leader what only that one tells."""
    untold = [source.name for source in facts.sources or () if not source.is_led]
    found: set[NotKnown] = {(each.name, source) for source in facts.unreadable for each in DEFINITIONS}
    return found | {(name, source) for source in untold for name in LEADER_TELLS}


RULES: dict[str, Callable[[AlertFacts, Callable[[str], float]], Iterable[Condition] | None]] = {
    **rules_of_sources.RULES,
    **rules_of_service.RULES,
}
"""By name; None where nothing is known."""
