"""The Grafana dashboard: are we right, which alerts are on, and what is behind each; lower rows are folded."""

from ledger.alerts.definitions import DEFINITIONS
from tests.support.monitoring.panels import DATASOURCE, Json, Row, laid_out, lines, number, states, words

UID = "presence-ledger"
WHERE = 'job=~"$job",instance=~"$instance"'


def _of(metric: str, *conditions: str) -> str:
    return f"presence_ledger_{metric}{{{','.join((WHERE, *conditions))}}}"


def _rate(metric: str, by: str, *conditions: str) -> str:
    return f"sum by ({by}) (rate({_of(metric, *conditions)}[$__rate_interval]))"


def _max(by: str, metric: str, *conditions: str) -> str:
    """Of instances that all tell the same, one."""
    return f"max by ({by}) ({_of(metric, *conditions)})"


def _ago(metric: str, by: str) -> str:
    return f"time() - max by ({by}) ({_of(metric)})"


def _quantile(share: float, metric: str, by: str = "le", *conditions: str) -> str:
    return f"histogram_quantile({share:g}, {_rate(f'{metric}_bucket', by, *conditions)})"


def _quantiles(metric: str, *conditions: str) -> list[tuple[str, str]]:
    return [(_quantile(share, metric, "le", *conditions), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99)]


_LOST = 'kind=~"ghost|missed",cause!~"restart|node"'
_LEARNT = 'verdict=~"opened|closed"'
_ON_OFF = {"0": ("no", "green"), "1": ("yes", "red")}


def _loss(window: str) -> str:
    lost = f"sum(increase({_of('drifts_total', _LOST)}[{window}]))"
    learnt = f"sum(increase({_of('webhook_items_total', _LEARNT)}[{window}]))"
    return f"{lost} / ({lost} + {learnt} > 0)"


def _right() -> Row:
    return Row(
        "Are we right?",
        [
            number("Alerts on", f"sum({_max('name, state', 'alerts')})", bad_from=1),
            number("Online", _max("status", "users", 'status="online"')),
            number("Unknown", _max("status", "users", 'status="unknown"'), "Users of whom nobody can know now."),
            number("Nodes down", f"sum(1 - min by (source, node) ({_of('node_up')}))", bad_from=1),
            number("Corrected in a day", f"sum(increase({_of('drifts_total')}[1d]))", "Users who were shown wrongly."),
            number(
                "Loss in a day", _loss("1d"), "Changes that no webhook told of.", unit="percentunit", bad_from=0.001
            ),
            lines("Users by status", (f"max by (status) ({_of('users')})", "{{status}}"), says="Of all ever observed."),
            lines(
                "Users shown wrongly, by cause",
                (_rate("drifts_total", "cause"), "{{cause}}"),
                says="Drifts that looks found and corrected. `gap` and `sender` are lost webhooks.",
                unit="cps",
            ),
            lines(
                "Share of changes that webhooks lost",
                (_loss("1h"), "1 h"),
                (_loss("6h"), "6 h"),
                says="Restarts and losses of nodes are not counted.",
                unit="percentunit",
            ),
        ],
        folded=False,
    )


def _alerts() -> Row:
    listed = [
        f"| `{each.name}` | {each.severity} | {each.meaning.en} | `{each.runbook}` |".replace("{", "").replace("}", "")
        for each in DEFINITIONS
    ]
    table = "\n".join(["| alert | severity | means | runbook |", "|---|---|---|---|", *listed])
    return Row(
        "Alerts",
        [
            states(
                "On",
                f"max by (name, source, subject) ({_of('alert_on')})",
                "{{name}} {{source}} {{subject}}",
                "As the service itself finds them; acknowledged ones, too.",
                _ON_OFF,
            ),
            lines("By name", (f"max by (name, state) ({_of('alerts')}) > 0", "{{name}} {{state}}"), width=24),
            words("What each means", table),
        ],
    )


def _webhooks() -> Row:
    return Row(
        "Webhooks",
        [
            lines("Items by verdict", (_rate("webhook_items_total", "verdict"), "{{verdict}}"), unit="cps"),
            lines(
                "Deliveries by outcome",
                (_rate("webhook_deliveries_total", "outcome"), "{{outcome}}"),
                says="Other than `accepted`, `rejected` and `other_event`: WuKongIM sends again, and then drops them.",
                unit="cps",
            ),
            lines(
                "Forbidden",
                (_rate("webhooks_forbidden_total", "source, node, reason"), "{{source}}/{{node}} {{reason}}"),
                unit="cps",
            ),
            lines(
                "Since the last one",
                (_ago("last_webhook_timestamp_seconds", "source, node"), "{{source}}/{{node}}"),
                unit="s",
            ),
            lines(
                "Until durable",
                *_quantiles("webhook_duration_seconds"),
                says="From the last byte to the commit.",
                unit="s",
            ),
            lines(
                "Repeated",
                (_rate("webhook_deliveries_repeated_total", "source, node"), "{{source}}/{{node}}"),
                says="Bodies that their node had sent before.",
                unit="cps",
            ),
            lines(
                "Forwarded to the business server",
                (_rate("webhooks_forwarded_total", "event, outcome"), "{{event}} {{outcome}}"),
                unit="cps",
                width=12,
            ),
            lines(
                "Connections closed before their time",
                (_rate("connections_closed_total", "reason"), "{{reason}}"),
                unit="cps",
                width=12,
            ),
        ],
    )


def _reconciliation() -> Row:
    return Row(
        "Nodes and looks",
        [
            states(
                "Nodes that are not up",
                _max("source, node, state", "node_state", 'state!="up"'),
                "{{source}}/{{node}} {{state}}",
                "down: does not answer; settling: has booted; api_failing: its query API fails.",
                _ON_OFF,
            ),
            states(
                "Sources in trouble",
                " or ".join(
                    f'label_replace(max by (source) ({_of(metric)}), "what", "{what}", "", "")'
                    for metric, what in (
                        ("source_dark", "dark"),
                        ("breaker_open", "breaker open"),
                        ("webhooks_silent", "webhooks silent"),
                    )
                ),
                "{{source}} {{what}}",
                "",
                _ON_OFF,
            ),
            lines(
                "Since the last good query",
                (_ago("last_query_timestamp_seconds", "source, node"), "{{source}}/{{node}}"),
                unit="s",
            ),
            lines(
                "Polls", (_rate("polls_total", "source, node, outcome"), "{{source}}/{{node}} {{outcome}}"), unit="cps"
            ),
            lines("Looks by tier", (_rate("looks_total", "source, tier"), "{{source}} {{tier}}"), unit="cps"),
            lines(
                "Looks later than their bound",
                (_rate("looks_overdue_total", "source, tier"), "{{source}} {{tier}}"),
                says="The budget cannot hold the tiers' bounds: raise it, or the bounds.",
                unit="cps",
            ),
            lines("Looks due", (f"max by (source) ({_of('looks_due')})", "{{source}}")),
            lines(
                "What looks made of drifts", (_rate("drift_findings_total", "kind, outcome"), "{{kind}} {{outcome}}")
            ),
            lines("Users swept with a node", (_rate("users_swept_total", "source, node"), "{{source}}/{{node}}")),
            lines(
                "Wrong profiles",
                (f"max by (source, node) ({_of('profile_mismatch')})", "{{source}}/{{node}}"),
                width=12,
            ),
            lines(
                "Since somebody reconciled",
                (_ago("reconciled_timestamp_seconds", "source"), "{{source}}"),
                unit="s",
                width=12,
            ),
        ],
    )


def _canary() -> Row:
    return Row(
        "Canary",
        [
            lines(
                "From its socket, p95",
                (_quantile(0.95, "canary_latency_seconds", "le, stage"), "{{stage}}"),
                says="Until its webhook was here, committed, told of by a stream.",
                unit="s",
            ),
            lines("Visits", (_rate("canary_visits_total", "source, node, outcome"), "{{source}}/{{node}} {{outcome}}")),
            lines(
                "Webhooks that have not come",
                (_rate("canary_webhooks_lost_total", "source, node, change"), "{{source}}/{{node}} {{change}}"),
            ),
            lines(
                "Since it was seen",
                (_ago("canary_last_seen_timestamp_seconds", "source, node"), "{{source}}/{{node}}"),
                unit="s",
                width=24,
            ),
        ],
    )


def _ledger() -> Row:
    return Row(
        "Ledger",
        [
            lines("Events a second", (f"max(deriv({_of('head_position')}[5m]))", "events"), unit="cps"),
            lines(
                "Commits",
                *_quantiles("commit_duration_seconds"),
                says="From asking for the ledger's lock to durable.",
                unit="s",
            ),
            lines(
                "Items a commit",
                (f"{_rate('group_items_sum', 'instance')} / {_rate('group_items_count', 'instance')}", "{{instance}}"),
            ),
            lines("Waiting items", (f"sum by (instance) ({_of('queue_items')})", "{{instance}}")),
            lines("Waiting bytes", (f"sum by (instance) ({_of('queue_bytes')})", "{{instance}}"), unit="bytes"),
            lines("Waiting webhooks", (f"sum by (instance) ({_of('queue_deliveries')})", "{{instance}}")),
            lines(
                "Spool",
                (f"sum by (instance) ({_of('spool_size_bytes')})", "{{instance}}"),
                (f"min by (instance) ({_of('spool_max_bytes')})", "{{instance}}, at most"),
                says="Webhooks kept in files while PostgreSQL takes none.",
                unit="bytes",
            ),
            lines("Spooled webhooks", (f"sum by (instance) ({_of('spool_deliveries')})", "{{instance}}")),
            lines("Spooling", (f"max by (instance) ({_of('spooling')})", "{{instance}}")),
            lines("Commits that failed", (_rate("commit_failures_total", "instance"), "{{instance}}"), unit="cps"),
            lines(
                "Projections behind",
                (f"max by (projection) ({_of('projection_lag_events')})", "{{projection}}"),
                (f"max({_of('agenda_lag_events')})", "agenda of looks"),
                says="Positions.",
            ),
            lines("Projections stopped", (f"max by (projection) ({_of('projection_stopped')})", "{{projection}}")),
        ],
    )


def _requests() -> Row:
    seconds = "http_request_duration_seconds"
    return Row(
        "Requests",
        [
            lines("By route", (_rate(f"{seconds}_count", "route"), "{{route}}"), unit="reqps"),
            lines("p99 by route", (_quantile(0.99, seconds, "le, route"), "{{route}}"), unit="s"),
            lines(
                "Errors",
                (_rate(f"{seconds}_count", "route, status", 'status=~"5..|499"'), "{{route}} {{status}}"),
                says="499: who asked had gone.",
                unit="reqps",
            ),
            lines("Denied", (_rate("requests_denied_total", "reason"), "{{reason}}"), unit="cps", width=24),
        ],
    )


def _told() -> Row:
    return Row(
        "Streams and sinks",
        [
            lines(
                "Streams",
                (f"sum by (instance) ({_of('streams')})", "{{instance}}"),
                (f"sum by (instance) ({_of('streams_max')})", "{{instance}} at most"),
                says="Of the front's own metrics, on front_listen.",
            ),
            lines("Sinks behind", (f"max by (sink) ({_of('sink_lag_events')})", "{{sink}}"), says="Positions."),
            lines(
                "Changes told",
                (f"max by (sink) (rate({_of('sink_changes_total')}[$__rate_interval]))", "{{sink}}"),
                unit="cps",
            ),
            lines(
                "Attempts that failed",
                (f"max by (sink) (rate({_of('sink_failures_total')}[$__rate_interval]))", "{{sink}}"),
                unit="cps",
            ),
            lines(
                "Failing for",
                (f"time() - max by (sink) ({_of('sink_failing_timestamp_seconds')} > 0)", "{{sink}}"),
                unit="s",
            ),
            lines(
                "Since the last success", (_ago("sink_last_success_timestamp_seconds", "sink"), "{{sink}}"), unit="s"
            ),
            lines("Paused or stopped", (f"max by (sink) ({_of('sink_held')})", "{{sink}}"), width=24),
        ],
    )


def _machines() -> Row:
    def of(metric: str) -> str:
        return f"{metric}{{{WHERE}}}"

    return Row(
        "PostgreSQL, disk and processes",
        [
            lines("PostgreSQL answers", (f"min by (instance) ({_of('database_up')})", "{{instance}}")),
            lines(
                "Database",
                (f"max({_of('database_size_bytes')})", "database"),
                (f"max({_of('wal_size_bytes')})", "write-ahead log"),
                unit="bytes",
            ),
            lines(
                "Free of the disk of data_dir",
                (f"{_of('disk_free_bytes')} / {_of('disk_size_bytes')}", "{{instance}}"),
                unit="percentunit",
            ),
            lines(
                "PostgreSQL's clock ahead",
                (f"max by (instance) ({_of('clock_offset_seconds')})", "{{instance}}"),
                unit="s",
            ),
            lines(
                "Processors",
                (f"rate({of('process_cpu_seconds_total')}[$__rate_interval])", "{{instance}} {{process}}"),
                unit="percentunit",
            ),
            lines("Memory", (of("process_resident_memory_bytes"), "{{instance}} {{process}}"), unit="bytes"),
            lines(
                "Files open, of those allowed",
                (f"{of('process_open_fds')} / {of('process_max_fds')}", "{{instance}} {{process}}"),
                unit="percentunit",
            ),
            lines(
                "Starts of processes", (f"changes({of('process_start_time_seconds')}[1h])", "{{instance}} {{process}}")
            ),
            lines("Leads", (_of("leads"), "{{instance}}"), says="1 at exactly one instance."),
            lines(
                "Versions",
                (f"count by (version, python) ({_of('build_info')})", "{{version}} on Python {{python}}"),
                width=24,
            ),
        ],
    )


def dashboard() -> Json:
    """The whole of it."""
    rows = [
        *(_right(), _alerts(), _webhooks(), _reconciliation(), _canary()),
        *(_ledger(), _requests(), _told(), _machines()),
    ]
    return {
        "uid": UID,
        "title": "Presence ledger",
        "description": "Made by `python -m tests.support.monitoring.write`; change it there.",
        "tags": ["presence-ledger"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Data source",
                    "type": "datasource",
                    "query": "prometheus",
                    "current": {},
                    "hide": 0,
                },
                _variable("job", "label_values(presence_ledger_build_info, job)"),
                _variable("instance", 'label_values(presence_ledger_build_info{job=~"$job"}, instance)'),
            ]
        },
        "panels": laid_out(rows),
    }


def _variable(name: str, query: str) -> Json:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": "variable"},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }
