"""Makes the files of `docs/monitoring/` that are not written by hand: `python -m tests.support.monitoring.write`."""

import json
from pathlib import Path

from tests.support.monitoring import dashboard, rule_cases, rules, runbooks

FOLDER = Path(__file__).parents[3] / "docs" / "monitoring"
RULES = FOLDER / "prometheus" / "presence-ledger.rules.yml"
RULE_TESTS = RULES.with_name("presence-ledger.rules.test.yml")
DASHBOARD = FOLDER / "grafana" / "dashboards" / "presence-ledger.json"


def files() -> dict[Path, str]:
    """Every file with what it should hold."""
    return {
        RULES: rules.rules(),
        RULE_TESTS: rule_cases.rule_tests(RULES.name),
        DASHBOARD: json.dumps(dashboard.dashboard(), ensure_ascii=False, indent=2) + "\n",
        **runbooks.write(FOLDER / "runbooks"),
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
