"""The rules file for Prometheus: an alerting rule for each of our alerts, and one for a service that is not there."""

import json
from collections.abc import Mapping

from ledger.alerts.definition import Definition
from ledger.alerts.definitions import CLEAR_SECONDS, DEFINITIONS

_LABELS = ("source", "node", "projection", "sink", "instance", "subject")

ABSENT = """\
      - alert: PresenceLedgerAbsent
        # Of a service that is not scraped no other rule says anything.
        expr: up{job=~".*presence-ledger.*"} == 0 or absent(presence_ledger_build_info)
        for: 1m
        labels:
          severity: critical
        annotations:
          summary: "Presence ledger is not scraped"
          description: "It is down, cannot be reached, or refuses the key that Prometheus sends."
"""


def rules() -> str:
    """The file."""
    return (
        "# Made by `python -m tests.support.monitoring.write` from ledger/alerts; change it there.\n"
        "groups:\n"
        "  - name: presence-ledger\n"
        "    rules:\n" + ABSENT + "".join(map(_rule, DEFINITIONS))
    )


def rule_name(definition: Definition) -> str:
    """`node_down` as `PresenceLedgerNodeDown`."""
    return "PresenceLedger" + "".join(part.capitalize() for part in definition.name.split("_"))


def annotations(definition: Definition, labels: Mapping[str, str]) -> dict[str, str]:
    """What the rule says, `labels` in their places."""
    wanted = {"source": labels.get("source", ""), "subject": labels.get(_subject_label(definition), "")}
    return {
        "summary": definition.title.en.format(**wanted),
        "summary_zh": definition.title.zh.format(**wanted),
        "description": definition.meaning.en,
        "description_zh": definition.meaning.zh,
        "runbook": definition.runbook,
    }


def _subject_label(definition: Definition) -> str:
    """The label that names what is wrong; where only the service itself can find that, its figure has the subject."""
    return "subject" if "presence_ledger_alert_on" in definition.expression else definition.subject


def _rule(definition: Definition) -> str:
    said = annotations(definition, {label: f"{{{{ $labels.{label} }}}}" for label in _LABELS})
    lines = [
        f"      - alert: {rule_name(definition)}",
        f"        expr: {json.dumps(definition.promql)}",
        *([f"        for: {definition.for_seconds:g}s"] if definition.for_seconds else []),
        f"        keep_firing_for: {CLEAR_SECONDS:g}s",
        "        labels:",
        f"          severity: {definition.severity}",
        "        annotations:",
        *(f"          {name}: {json.dumps(text, ensure_ascii=False)}" for name, text in said.items()),
    ]
    return "\n".join(lines) + "\n"
