"""`/metrics` of both listeners by its names and labels; and what a real Prometheus makes of it, rules and dashboard."""

import re
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from ledger.alerts.definitions import DEFINITIONS
from tests.acceptance.test_reconciliation import settings
from tests.support.im_node import ImNode, im_node
from tests.support.monitoring import dashboard
from tests.support.monitoring.panels import every_panel
from tests.support.monitoring.write import FOLDER
from tests.support.prometheus import (
    Prometheus,
    metric_names,
    needs_prometheus,
    needs_promtool,
    prometheus,
    promtool,
)
from tests.support.service import KEYS, PRESENCE_EVENT, SECRET, Api, Port, wait_for
from tests.support.streams import FrontedService, fronted

SINK = """
[[sinks]]
name = "app"
kind = "webhook"
url = "http://127.0.0.1:9/"
secret = "whsec_c2VjcmV0LW9mLXRoZS1zaW5rLW9mLXRoZS10ZXN0"
"""

ALERTS = """
[alerts]
evaluate_seconds = 0.5
webhook_secret_unknown_deliveries = 1
"""

OF_A_CANARY = {
    f"presence_ledger_canary_{name}"
    for name in (
        "visits_total",
        "webhooks_lost_total",
        "latency_seconds",
        "last_seen_timestamp_seconds",
        "every_seconds",
    )
}
"""There is none here."""


@pytest.fixture(scope="module")
def node() -> Iterator[ImNode]:
    with im_node() as node:
        yield node


@pytest.fixture(scope="module")
def service(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory, node: ImNode
) -> Iterator[FrontedService]:
    """One that has met all that there is to count: each outcome of a webhook, a drift, a request without a key."""
    folder = tmp_path_factory.mktemp("service")
    tables = settings(node.url) + SINK + ALERTS
    with fronted(folder, folder / "data", database_url=module_database_url, tables=tables) as service:
        service.start()
        with Api(service) as api:
            api.deliver(node.connect("counted-user"), "odd", 7)
            api.deliver("counted-user-0-1-1-1-1")
            node.connect("missed-user")
            api.deliver("missed-user-0-0-9-0-0")
            assert api.hook(b"no array").status_code == 200
            assert api.http.post(f"/hooks/main/n1/wrong?event={PRESENCE_EVENT}", content=b"[]").status_code == 403
            assert api.http.post(f"/hooks/main/n1/{SECRET}?event=msg.notify", content=b"[]").status_code == 200
            wait_for(lambda: api.presence("missed-user")["status"] == "online", service.log)
        yield service


@pytest.fixture
def figures(api: Api) -> str:
    """The service's, once everything is in them."""
    wait_for(lambda: series(api, 'users{status="online"}') == 2 and series(api, 'sink_lag_events{sink="app"}'))
    return exposition(api)


def exposition(api: Api) -> str:
    return str(api.http.get("/metrics").text)


def series(api: Api, name: str) -> float | None:
    """The value of a series, by its name without the prefix and its labels in their order."""
    found = re.search(rf"^presence_ledger_{re.escape(name)} (\S+)$", exposition(api), re.MULTILINE)
    return None if found is None else float(found[1])


AT_LEAST = r"[1-9][0-9.e+]*"
SINCE = r"1\.[0-9]+e\+09"


@pytest.mark.parametrize(
    "line",
    [
        f'webhook_items_total{{node="n1",source="main",verdict="opened"}} {AT_LEAST}',
        f'webhook_items_total{{node="n1",source="main",verdict="duplicate"}} {AT_LEAST}',
        'webhook_items_total{node="n1",source="main",verdict="rejected"} 2.0',
        'webhook_items_total{node="n1",source="main",verdict="stale"} 0.0',
        'webhook_deliveries_total{node="n1",outcome="accepted",source="main"} 3.0',
        'webhook_deliveries_total{node="n1",outcome="rejected",source="main"} 1.0',
        'webhook_deliveries_total{node="n1",outcome="forbidden",source="main"} 1.0',
        'webhook_deliveries_total{node="n1",outcome="other_event",source="main"} 1.0',
        'webhook_deliveries_total{node="n1",outcome="store_unavailable",source="main"} 0.0',
        'webhooks_forbidden_total{node="n1",reason="wrong_secret",source="main"} 1.0',
        f'last_webhook_timestamp_seconds{{node="n1",source="main"}} {SINCE}',
        f'last_query_timestamp_seconds{{node="n1",source="main"}} {SINCE}',
        'users{status="unknown"} 0.0',
        'drifts_total{cause="gap",kind="missed",source="main"} 1.0',
        'drifts_total{cause="restart",kind="ghost",source="main"} 0.0',
        f'looks_total{{source="main",tier="normal"}} {AT_LEAST}',
        'looks_overdue_total{source="main",tier="vip"} 0.0',
        'node_state{node="n1",source="main",state="up"} 1.0',
        'node_up{node="n1",source="main"} 1.0',
        'projection_lag_events{projection="current"} 0.0',
        f'sink_lag_events{{sink="app"}} {AT_LEAST}',
        f'http_request_duration_seconds_count{{method="POST",route="hooks",status="200"}} {AT_LEAST}',
        'http_request_duration_seconds_count{method="POST",route="hooks",status="403"} 1.0',
        f"database_size_bytes {AT_LEAST}",
        f"wal_size_bytes {AT_LEAST}",
        f"disk_free_bytes {AT_LEAST}",
        "database_up 1.0",
        f"head_position {AT_LEAST}",
        "agenda_lag_events [0-9].*",
        "queue_items 0.0",
        f"commit_duration_seconds_count {AT_LEAST}",
        f"group_items_sum {AT_LEAST}",
        "leads 1.0",
        'build_info{python="[0-9.]+",version="[^"]+"} 1.0',
    ],
)
def test_what_there_is_has_its_name_and_its_labels(api: Api, figures: str, line: str) -> None:
    labelled = line.replace("{", r"\{").replace("}", r"\}")
    told = re.compile(rf"^presence_ledger_{labelled}$", re.MULTILINE)
    # What is read of the database is read every few seconds, and looks come when they are due.
    assert told.search(figures) or wait_for(lambda: told.search(exposition(api)), lambda: line)


def test_an_alert_that_is_on_is_told(api: Api) -> None:
    name = "webhook_secret_unknown"
    wait_for(lambda: series(api, f'alert_on{{name="{name}",source="main",subject="n1"}}') == 1, api.service.log)
    assert series(api, f'alerts{{name="{name}",state="firing"}}') == 1
    assert series(api, f'alerts{{name="{name}",state="acknowledged"}}') == 0
    assert series(api, 'alerts{name="source_dark",state="firing"}') == 0


def test_each_process_tells_of_itself(service: FrontedService, figures: str) -> None:
    for process in ("service", "projector", "front", "sinks"):
        assert re.search(rf'^process_cpu_seconds_total{{process="{process}"}} ', figures, re.MULTILINE)
    front = service.figures()
    assert 'process_resident_memory_bytes{process="front"} ' in front
    assert "presence_ledger_streams 0.0\n" in front
    assert "presence_ledger_build_info{" in front
    assert 'presence_ledger_http_request_duration_seconds_count{method="GET",route="health",status="200"}' in front


def test_nothing_names_a_user_or_a_secret(service: FrontedService, figures: str) -> None:
    for text in (figures, service.figures()):
        for word in ("counted-user", "missed-user", SECRET, *KEYS.values(), "c2VjcmV0"):
            assert word not in text


def test_the_fronts_own_want_a_key_as_the_services_do(service: FrontedService) -> None:
    for key, status in ((None, 401), ("nobody's", 401), (KEYS["audit"], 200)):
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        for url in (service.front, service.url):
            assert httpx2.get(f"{url}/metrics", headers=headers, trust_env=False).status_code == status


@needs_promtool
def test_promtool_finds_nothing_amiss(service: FrontedService, figures: str) -> None:
    for text in (figures, service.figures()):
        assert promtool("check", "metrics", given=text) == ""


def known(service: FrontedService, figures: str) -> set[str]:
    """The metrics that there are."""
    return set(re.findall(r"^# TYPE (\S+) ", figures + service.figures(), re.MULTILINE))


def test_rules_and_dashboard_name_what_there_is(service: FrontedService, figures: str) -> None:
    there = known(service, figures) | OF_A_CANARY
    expressions = [each.promql for each in DEFINITIONS] + [query for _, query in queries()]
    for name in metric_names(" ".join(expressions)):
        assert re.sub("_(bucket|sum|count)$", "", name) in there, name


def test_every_metric_is_documented(service: FrontedService, figures: str) -> None:
    described = (FOLDER / "README.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`((?:presence_ledger|process)_\w+)", described))
    assert told == known(service, figures) | OF_A_CANARY
    rows = re.findall(r"^\| (`presence_ledger_[^|]*) \|", described, re.MULTILINE)
    named = [name for row in rows for name in row.split(", ")]
    assert len(named) == len(set(named))


def queries() -> Iterator[tuple[str, str]]:
    """Each query of the dashboard with its panel's title, for every job and instance."""
    for panel in every_panel(dashboard.dashboard()):
        for target in panel.get("targets", []):
            text = target["expr"].replace("$job", ".*").replace("$instance", ".*").replace("$__rate_interval", "15s")
            yield panel["title"], text


@pytest.fixture(scope="module")
def scraped(service: FrontedService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped both listeners some times."""
    folder = tmp_path_factory.mktemp("prometheus")
    targets = [f"127.0.0.1:{port}" for port in (service.port, service.front_port)]
    with prometheus(folder, targets, Port()) as running:
        often = "count_over_time(up[1m]) >= 2 and up == 1"
        wait_for(lambda: len(running.query(often)) == len(targets), lambda: running.get("targets"))
        yield running


@needs_prometheus
def test_a_prometheus_scrapes_both_listeners(scraped: Prometheus, service: FrontedService) -> None:
    assert {each["metric"]["instance"] for each in scraped.query("presence_ledger_build_info")} == {
        f"127.0.0.1:{port}" for port in (service.port, service.front_port)
    }
    [online] = scraped.query('presence_ledger_users{status="online"}')
    assert online["value"][1] == "2"


@needs_prometheus
def test_its_rules_are_evaluated_without_an_error(scraped: Prometheus) -> None:
    def rules() -> Any:
        [group] = scraped.get("rules")["groups"]
        return group["rules"]

    wait_for(lambda: all(rule["health"] == "ok" for rule in rules()), rules)
    assert len(rules()) == len(DEFINITIONS) + 1
    assert not [rule["lastError"] for rule in rules() if rule.get("lastError")]


@needs_prometheus
def test_every_query_of_the_dashboard_is_answered(scraped: Prometheus) -> None:
    end = time.time()
    start, nothing = end - 60, []
    for title, query in queries():
        found = scraped.query(query)
        scraped.get("query_range", query=query, start=f"{start}", end=f"{end}", step="5")
        if not found:
            nothing.append(title)
    # What has not happened since it scrapes is not there: no change was lost, no sink was told anything.
    [canary] = [panel["panels"] for panel in dashboard.dashboard()["panels"] if panel["title"] == "Canary"]
    assert set(nothing) <= {
        *("Loss in a day", "Share of changes that webhooks lost", "Errors", "Forwarded to the business server"),
        *("On", "By name", "Since the last success", *(each["title"] for each in canary)),
    }
