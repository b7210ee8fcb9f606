"""Checks `docs/monitoring`: made from the alerts' definitions and not stale, and as promtool and Grafana want it."""

import json
import re
from typing import Any

import pytest

from ledger.alerts.definitions import DEFINITIONS
from tests.support.monitoring import dashboard, rules
from tests.support.monitoring.checks import CHECKS
from tests.support.monitoring.checks_zh import CHECKS_ZH
from tests.support.monitoring.panels import DATASOURCE, every_panel
from tests.support.monitoring.rule_cases import CASES
from tests.support.monitoring.write import DASHBOARD, FOLDER, RULE_TESTS, RULES, files
from tests.support.prometheus import needs_promtool, promtool

FILES = files()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_made_is_as_it_would_be_made_now(path: Any) -> None:
    assert path.read_text(encoding="utf-8") == FILES[path], "run python -m tests.support.monitoring.write"


def test_every_alert_has_its_rule_its_cases_its_checks_and_its_page() -> None:
    names = {each.name for each in DEFINITIONS}
    assert CASES.keys() == CHECKS.keys() == names
    pages = {path.stem for path in (FOLDER / "runbooks").glob("*.md")}
    assert pages == names | {"README"}
    for definition in DEFINITIONS:
        assert (FOLDER.parents[1] / definition.runbook).exists()
        assert f"alert: {rules.rule_name(definition)}\n" in FILES[RULES]


def test_the_checks_are_the_same_in_both_languages() -> None:
    typed = re.compile(r"`[^`]+`|\*[^*]+\*|\]\([^)]+\)")
    assert list(CHECKS_ZH) == list(CHECKS)
    for name, checks in CHECKS.items():
        for english, chinese in zip(checks, CHECKS_ZH[name], strict=True):
            assert sorted(typed.findall(chinese)) == sorted(typed.findall(english)), english


@needs_promtool
def test_promtool_takes_the_rules() -> None:
    assert f"{len(DEFINITIONS) + 1} rules found" in promtool("check", "rules", str(RULES))


@needs_promtool
def test_each_rule_fires_when_it_should_and_not_otherwise() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(RULE_TESTS))


@needs_promtool
def test_promtool_takes_the_configuration() -> None:
    path = FOLDER / "prometheus" / "prometheus.yml"
    promtool("check", "config", "--syntax-only", str(path))


def test_the_dashboard_is_one_that_grafana_can_be_given() -> None:
    made = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert made == dashboard.dashboard()
    assert (made["uid"], made.get("id")) == (dashboard.UID, None)
    assert [each["name"] for each in made["templating"]["list"]] == ["datasource", "job", "instance"]
    ids = [panel["id"] for panel in every_panel(made)]
    assert len(ids) == len(set(ids))
    folded = [row["collapsed"] for row in made["panels"] if row["type"] == "row"]
    assert folded == [False] + [True] * (len(folded) - 1)
    # Whatever Grafana it is, it has its own data source.
    assert set(re.findall(r'"uid": "([^"]*)"', DASHBOARD.read_text(encoding="utf-8"))) == {
        dashboard.UID,
        DATASOURCE["uid"],
    }


def test_every_query_is_of_the_job_and_instance_that_are_chosen() -> None:
    queries = [target["expr"] for panel in every_panel(dashboard.dashboard()) for target in panel.get("targets", [])]
    assert len(queries) > 50
    for query in queries:
        selected = re.findall(r"\b(?:presence_ledger|process)_\w+(\{[^}]*\})?", query)
        assert all(dashboard.WHERE in each for each in selected), query


def test_panels_do_not_lie_over_each_other() -> None:
    shown = dashboard.dashboard()["panels"]
    for made in (shown, *(panel.get("panels", []) for panel in shown)):
        taken: set[tuple[int, int]] = set()
        for panel in made:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert place["x"] + place["w"] <= 24
            assert not taken & cells, panel["title"]
            taken |= cells
