"""All alerts by name, in the order of the documentation: pure data, of which rules, dashboard and runbooks are made."""

from ledger.alerts.definition import Definition
from ledger.alerts.of_service import OF_SERVICE
from ledger.alerts.of_settings import OF_SETTINGS
from ledger.alerts.of_sources import OF_SOURCES

DEFINITIONS: tuple[Definition, ...] = OF_SOURCES + OF_SERVICE + OF_SETTINGS
BY_NAME: dict[str, Definition] = {each.name: each for each in DEFINITIONS}

EVALUATE_SECONDS = 5.0
"""Default of `evaluate_seconds`: how often the leading instance looks."""
CLEAR_SECONDS = 60.0
"""Default of `clear_seconds`: an alert ends once its condition has not held for so long."""
CLEAR_SHARE = 0.8
"""Default of `clear_share`: a figure has to fall below this share of its threshold for its condition not to hold."""
