"""What to look at when an alert is on, one after the other, for the runbooks."""

CHECKS: dict[str, tuple[str, ...]] = {
    "drift_rate": (
        "`GET /v1/drift/summary?by=attributed_to&by=node`: one cause and one node, or all?",
        "`restart`, `node`: it explains itself. `gap`, `sender`: see [webhook_loss_budget](webhook_loss_budget.md).",
        "The panel *Users shown wrongly, by cause*: since when, and does it still grow?",
    ),
    "webhook_loss_budget": (
        "`presence-ledger loss`: which nodes, which hours?",
        "`presence_ledger_webhook_deliveries_total` by outcome: what was not taken is lost after a few attempts.",
        "WuKongIM's log of these hours: time-outs, dropped batches, a webhook queue that was full.",
        "What is between the two: a proxy's own bounds and time-outs.",
    ),
    "webhooks_silent": (
        "`presence-ledger config wukongim` against the node's own configuration: address, secret.",
        "From the node: `curl -i -X POST ADDRESS?event=user.onlinestatus -d '[]'` must say 200.",
        "`presence_ledger_webhooks_forbidden_total`: does it post with another secret?",
        "The node's log: a sender that hangs is cured by a restart of the node.",
    ),
    "query_api_failing": (
        "`reasons` in `GET /v1/sources` has the last answer in words.",
        "401: `token`, the node's managerToken. 400: a peer of the cluster is down. Time-outs: is the node overloaded?",
        "From this machine: `curl -i API_URL/varz` (v1, v2) or `API_URL/metrics` (v3).",
    ),
    "source_dark": (
        "The network between this machine and WuKongIM; then the webhooks and the query API, each on its own.",
        "`dark_since` in `GET /v1/sources`: since when.",
        "`policy.dark_seconds`, where nobody is online at night and nothing comes for long.",
    ),
    "node_down": (
        "Is the process there? `systemctl status` or `docker ps` on the node; its log, its memory, its disk.",
        "`down_since` of the node in `GET /v1/sources`; the panel *Nodes that are not up*: this one alone, or all?",
        "From this machine: `curl -i API_URL/varz` (v1, v2) or `API_URL/metrics` (v3).",
    ),
    "breaker_open": (
        "`missing` and `looked` of the event `breaker_opened`: how many were said to be offline?",
        "Ask WuKongIM by another way: the number of connections in its own manager, or of your gateway.",
        "A leader change or an empty list after a restart ends by itself; a mass departure is believed after the hold.",
    ),
    "projection_stopped": (
        "`presence-ledger projections`: at which position, and why?",
        "The event itself: `GET /v1/ledger/events?after=POSITION-1&limit=1`. A kind of a newer version: run that.",
        '`"event": "projection_stopped"` in the log has the traceback of a defect; please report it.',
    ),
    "projection_lagging": (
        "The panels *Projections behind* and *Events a second*: a storm that ends, or more than it can take?",
        'The processors of the machine and of PostgreSQL; `process_cpu_seconds_total{process="projector"}`.',
        "Locks: a `backup` or a report that holds its tables (`pg_stat_activity`, `wait_event_type = 'Lock'`).",
    ),
    "sink_failing": (
        "`presence-ledger sinks`: the last error, and when it was.",
        "The receiver's own log; is its certificate valid, did its address change?",
        "How much waits: `presence_ledger_sink_lag_events`.",
    ),
    "store_unavailable": (
        '`GET /health/ready` says which question was not answered; `"event": "commits_fail"` in the log says why.',
        "PostgreSQL: its process, its log, its disk, `SELECT count(*) FROM pg_stat_activity`.",
        "Who holds the ledger's lock: an import writes for minutes.",
    ),
    "spool_growing": (
        "`GET /health/ready`: is it still `spooling`, and since when?",
        "`presence_ledger_spool_size_bytes` falls: PostgreSQL is back, and the spool is being emptied.",
        "It does not, though PostgreSQL answers: `commits_fail` or `spooled_webhooks_refused` in the log.",
    ),
    "archive_failing": (
        "`GET /v1/archive`: `failed` says why the last run went no further.",
        "`df -h ARCHIVE_DIR`, and whether the service's user may write there.",
        "`presence-ledger archive verify`: is every file there, and as it was written?",
    ),
    "disk_low": (
        "`du -x --max-depth=2 DATA_DIR`: the database, its write-ahead log, the archive, or something else?",
        "`presence_ledger_database_size_bytes` and `presence_ledger_wal_size_bytes`: which grows, and how fast?",
        "A write-ahead log that grows: an old replication slot (`SELECT * FROM pg_replication_slots`).",
    ),
    "canary_late": (
        "`presence-ledger alerts`: which way was late, the webhook's or the query's?",
        "Was the canary refused? The reason is WuKongIM's own: a token, a ban.",
        "The panels *Until durable* and *Since the last one*: late here, or on the way?",
    ),
    "profile_mismatch": (
        "The node's version: `GET /varz` (v1, v2) says it; v3 answers `GET /metrics` alone.",
        "`reasons` in `GET /v1/sources`: which versions the counts fit.",
        "During a rolling upgrade each node has a `profile` of its own.",
    ),
    "webhook_secret_unknown": (
        '`"event": "webhook_refused"` in the log has the address it came from: a node of yours?',
        "`presence-ledger config wukongim` against the node's own configuration.",
        "`GET /v1/sources`: has the node been heard at all since the secret was changed?",
    ),
    "wrong_cluster": (
        "`api_url` of the node in the settings: does it lead to the node that posts under this name?",
        "Which users it lists (`POST /user/onlinestatus`), against who is online here.",
        "A test system's address, copied.",
    ),
    "token_missing": (
        "The node's `managerToken`, and `token` in the settings.",
        "Whether others of the cluster answer: they may each have a token of their own.",
        "From this machine: `curl -i -H 'token: …' API_URL/user/onlinestatus -d '[]'` must say 200.",
    ),
    "clock_skew": (
        "`timedatectl` or `chronyc tracking`, here and where PostgreSQL runs.",
        "`database_clock_offset_seconds` in `GET /health/ready`.",
        "A machine that was suspended, or moved to another host.",
    ),
    "notify_failing": (
        "`presence-ledger alerts --all` has what was not told.",
        "The entry's `url` with the `apprise` command, from this machine.",
        "The robot's own rules: a keyword it wants, an address it allows, how often it may be used.",
    ),
}
"""By the alert's name."""
