"""The cases of `promtool test rules`: for each alert what makes its rule fire, and what is as it should be."""

import json
from typing import NamedTuple

from ledger.alerts.definition import Definition
from ledger.alerts.definitions import DEFINITIONS
from tests.support.monitoring.rules import annotations, rule_name

JOB = {"job": "presence-ledger"}
MAIN = {**JOB, "source": "main"}
N1 = {**MAIN, "node": "n1"}
HERE = {**JOB, "instance": "i"}

SCRAPED, EVALUATED = "15s", "1m"
QUIET, LOUD = "0x400", "1x400"


class Case(NamedTuple):
    """`bad` and `good` are series (metric, further labels, values every 15 s); the rule fires with `labels` `at`."""

    labels: dict[str, str]
    bad: list[tuple[str, dict[str, str], str]]
    good: list[tuple[str, dict[str, str], str]]
    at: str = "15m"


def _flag(name: str, labels: dict[str, str], bad: str = LOUD, good: str = QUIET) -> Case:
    return Case(labels, [(name, {}, bad)], [(name, {}, good)])


def _found(name: str, **labels: str) -> Case:
    """An alert that only the service itself can find."""
    return Case({**JOB, **labels}, [("alert_on", {"name": name}, LOUD)], [("alert_on", {"name": "source_dark"}, LOUD)])


_LOST = {"kind": "missed", "cause": "gap"}

CASES: dict[str, Case] = {
    "drift_rate": Case(
        MAIN,
        [("drifts_total", {"kind": "ghost", "cause": "gap"}, "0+5x400"), ("looks_total", {"tier": "vip"}, "0+50x400")],
        [("drifts_total", {"kind": "ghost", "cause": "gap"}, "0+1x400"), ("looks_total", {"tier": "vip"}, "0+99x400")],
    ),
    "webhook_loss_budget": Case(
        MAIN,
        [("drifts_total", _LOST, "0+1x400"), ("webhook_items_total", {"verdict": "opened"}, "0+99x400")],
        [
            # A restart of WuKongIM is no loss.
            ("drifts_total", {"kind": "missed", "cause": "restart"}, "0+1x400"),
            ("drifts_total", _LOST, "0x400"),
            ("webhook_items_total", {"verdict": "opened"}, "0+99x400"),
        ],
        "60m",
    ),
    "webhooks_silent": _flag("webhooks_silent", MAIN),
    "query_api_failing": Case(
        N1,
        [("last_query_timestamp_seconds", {}, "60x400"), ("node_up", {}, LOUD)],
        # Of a node that is down another alert tells.
        [("last_query_timestamp_seconds", {}, "60x400"), ("node_up", {}, QUIET)],
    ),
    "source_dark": _flag("source_dark", MAIN),
    "node_down": _flag("node_up", N1, QUIET, LOUD),
    "breaker_open": _flag("breaker_open", MAIN),
    "canary_late": Case(
        N1,
        [("canary_last_seen_timestamp_seconds", {}, "60x400"), ("canary_every_seconds", {}, "60x400")],
        # One that comes seldom has time for three visits.
        [("canary_last_seen_timestamp_seconds", {}, "60x400"), ("canary_every_seconds", {}, "600x400")],
    ),
    "projection_stopped": _flag("projection_stopped", {**JOB, "projection": "sessions"}),
    "projection_lagging": _flag("projection_lag_events", {**JOB, "projection": "sessions"}, "200000x400"),
    "sink_failing": Case(
        {**JOB, "sink": "app"},
        [("sink_failing_timestamp_seconds", {}, "60x400")],
        [("sink_failing_timestamp_seconds", {}, QUIET)],
    ),
    "store_unavailable": Case(
        HERE,
        [("database_up", {}, LOUD), ("commits_failing", {}, LOUD)],
        [("database_up", {}, LOUD), ("commits_failing", {}, QUIET)],
    ),
    "spool_growing": Case(
        HERE,
        [("spool_size_bytes", {}, "6e8x400"), ("spool_max_bytes", {}, "1e9x400")],
        [("spool_size_bytes", {}, "0x400"), ("spool_max_bytes", {}, "0x400")],
    ),
    "disk_low": Case(
        HERE,
        [("disk_free_bytes", {}, "5e9x400"), ("disk_size_bytes", {}, "1e12x400")],
        [("disk_free_bytes", {}, "5e11x400"), ("disk_size_bytes", {}, "1e12x400")],
    ),
    "archive_failing": _found("archive_failing", subject="host"),
    "notify_failing": _found("notify_failing", subject="oncall"),
    "profile_mismatch": _flag("profile_mismatch", N1),
    "webhook_secret_unknown": Case(
        N1,
        [("webhooks_forbidden_total", {"reason": "wrong_secret"}, "0+1x400")],
        [("webhooks_forbidden_total", {"reason": "wrong_secret"}, "0x400")],
    ),
    "wrong_cluster": _found("wrong_cluster", source="main", subject="n1"),
    "token_missing": _found("token_missing", source="main", subject="n1"),
    "clock_skew": _flag("clock_offset_seconds", HERE, "-2x400", "0.1x400"),
}


def rule_tests(rules_file: str) -> str:
    """The file of tests, beside the rules."""
    return (
        "# Made by `python -m tests.support.monitoring.write`; change tests/support/monitoring/rule_cases.py.\n"
        f"rule_files: [{rules_file}]\n"
        f"evaluation_interval: {EVALUATED}\n"
        "tests:\n" + "".join(_tests(definition, CASES[definition.name]) for definition in DEFINITIONS)
    )


def _tests(definition: Definition, case: Case) -> str:
    fired = {
        "exp_labels": {"severity": definition.severity, **case.labels},
        "exp_annotations": annotations(definition, case.labels),
    }
    return _test(definition, case, case.bad, [fired]) + _test(definition, case, case.good, [])


def _test(
    definition: Definition, case: Case, series: list[tuple[str, dict[str, str], str]], expected: list[object]
) -> str:
    lines = [
        f"  - name: {definition.name}{'' if expected else ', as it should be'}",
        f"    interval: {SCRAPED}",
    ]
    lines.append("    input_series:")
    for metric, further, values in series:
        labels = {"instance": "i", **case.labels, **further}
        written = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
        lines.append(f"      - series: {json.dumps(f'presence_ledger_{metric}{{{written}}}')}")
        lines.append(f"        values: {json.dumps(values)}")
    told = json.dumps(expected, ensure_ascii=False)
    lines += [
        "    alert_rule_test:",
        f"      - eval_time: {case.at}",
        f"        alertname: {rule_name(definition)}",
        f"        exp_alerts: {told}",
    ]
    return "\n".join(lines) + "\n"
