"""The thresholds in force: what `[alerts]` says, and the definitions' defaults where it says nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ledger.alerts.definitions import CLEAR_SECONDS, CLEAR_SHARE, DEFINITIONS, EVALUATE_SECONDS


def defaults() -> dict[str, float]:
    """Every threshold's default, by its whole name."""
    return {each.name: each.default for definition in DEFINITIONS for each in definition.settings}


@dataclass(frozen=True)
class Thresholds:
    """All of `[alerts]`."""

    off: tuple[str, ...] = ()
    """The alerts that are not evaluated."""
    evaluate_seconds: float = EVALUATE_SECONDS
    clear_seconds: float = CLEAR_SECONDS
    clear_share: float = CLEAR_SHARE
    numbers: Mapping[str, float] = field(default_factory=defaults)
    """By the whole name, `node_down_for_seconds`."""

    def of(self, alert: str, threshold: str) -> float:
        """A threshold of an alert."""
        return self.numbers[f"{alert}_{threshold}"]
