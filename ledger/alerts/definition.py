"""What an alert is defined by: its name and severity, its words, its thresholds, and its expression for Prometheus."""

from string import Template
from typing import Literal, NamedTuple, TypeAlias

Severity: TypeAlias = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
"""From the least to the most severe."""

Subject: TypeAlias = Literal["", "node", "projection", "sink", "instance", "notify"]
"""What is wrong, where it is not a source as a whole; also the label that Prometheus has for it."""

RUNBOOKS = "docs/monitoring/runbooks"


class Wording(NamedTuple):
    """The same in each language."""

    en: str
    zh: str


class Threshold(NamedTuple):
    """A number of a definition; `[alerts]` has it under the alert's name and its own, joined by `_`.

    Of names that end in `_seconds`, the values are seconds; in `_share`, 0 to 1; in `_bytes`, bytes; else a number.
    """

    name: str
    default: float
    says: str
    """What it bounds, for the table of settings."""


class Definition(NamedTuple):
    """An alert that can be on once for each source, and for each subject of it."""

    name: str
    severity: Severity
    of_source: bool
    """Whether it is of a source; else it is of the service itself."""
    subject: Subject
    title: Wording
    """One line for rules and lists; formats `source` and `subject`."""
    summary: Wording
    """The same with figures: formats `source`, `subject` and what the rule says the alert rests on."""
    meaning: Wording
    """What users and operators notice of it."""
    way_out: Wording
    """What to do, the first thing first."""
    for_seconds: float
    """The default of the threshold that every alert has: it is on once its condition has held for so long."""
    thresholds: tuple[Threshold, ...]
    expression: str
    """PromQL, whose `${name}` are thresholds; it holds as long as the alert's condition does."""

    @property
    def runbook(self) -> str:
        """The page that says what to do, in the repository."""
        return f"{RUNBOOKS}/{self.name}.md"

    @property
    def settings(self) -> tuple[Threshold, ...]:
        """Every threshold, the minimum duration first, by its whole name in `[alerts]`."""
        held = Threshold("for_seconds", self.for_seconds, "it is on once its condition has held for so long")
        return tuple(each._replace(name=f"{self.name}_{each.name}") for each in (held, *self.thresholds))

    @property
    def promql(self) -> str:
        """The expression with the thresholds' defaults."""
        return Template(self.expression).substitute({each.name: f"{each.default:.15g}" for each in self.thresholds})
