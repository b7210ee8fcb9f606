"""The alerts' definitions: every name, words of both languages that format, and expressions without a gap."""

import re
from string import Formatter

import pytest

from ledger.alerts.definition import SEVERITIES, Definition
from ledger.alerts.definitions import DEFINITIONS

NAMES = {
    "drift_rate", "webhook_loss_budget", "webhooks_silent", "query_api_failing", "source_dark", "node_down",
    "breaker_open", "projection_stopped", "projection_lagging", "sink_failing", "store_unavailable", "disk_low",
    "canary_late", "profile_mismatch", "webhook_secret_unknown", "wrong_cluster", "token_missing", "clock_skew",
    "notify_failing", "spool_growing", "archive_failing",
}  # fmt: skip

each = pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.name)


def test_every_name_is_defined_once() -> None:
    assert [*sorted(each.name for each in DEFINITIONS)] == sorted(NAMES)


@each
def test_both_languages_format_the_same(definition: Definition) -> None:
    for words in (definition.title, definition.summary):
        assert _fields(words.en) == _fields(words.zh)
    assert _fields(definition.title.en) <= {"source", "subject"}
    for words in (definition.title, definition.summary, definition.meaning, definition.way_out):
        assert re.search("[一-鿿]", words.zh)
        assert not re.search("[一-鿿]", words.en)


@each
def test_a_source_and_a_subject_are_named_where_there_is_one(definition: Definition) -> None:
    named = _fields(definition.summary.en)
    # Of some the cause names them.
    assert ("source" in named) == definition.of_source or definition.name == "webhook_secret_unknown"
    by_cause = ("drift_rate", "wrong_cluster", "webhooks_silent", "webhook_secret_unknown")
    assert ("subject" in named) == bool(definition.subject) or definition.name in by_cause


@each
def test_the_expression_takes_each_threshold(definition: Definition) -> None:
    assert definition.severity in SEVERITIES
    assert "$" not in definition.promql
    used = set(re.findall(r"\$\{(\w+)\}", definition.expression))
    assert used <= {threshold.name for threshold in definition.thresholds}


@each
def test_settings_are_named_after_the_alert(definition: Definition) -> None:
    assert definition.settings[0].name == f"{definition.name}_for_seconds"
    assert all(threshold.name.startswith(f"{definition.name}_") for threshold in definition.settings)


def _fields(text: str) -> set[str]:
    return {field for _, field, _, _ in Formatter().parse(text) if field}
