"""The same in Chinese: what to look at when an alert is on, for each check of `checks.py` one."""

FIRST = "`presence-ledger alerts`：从何时开始，依据是什么；`alerts acknowledge ID` 告诉其他人已有人处理。"

CHECKS_ZH: dict[str, tuple[str, ...]] = {
    "drift_rate": (
        "`GET /v1/drift/summary?by=attributed_to&by=node`：是同一原因、同一节点，还是普遍如此？",
        "`restart`、`node` 无需处理；`gap`、`sender` 见 [webhook_loss_budget](webhook_loss_budget.md)。",
        "面板 *Users shown wrongly, by cause*：从何时开始，是否仍在增长？",
    ),
    "webhook_loss_budget": (
        "`presence-ledger loss`：是哪些节点、哪些时段？",
        "按 outcome 查看 `presence_ledger_webhook_deliveries_total`：未被接收的，重试几次后即丢失。",
        "WuKongIM 在这些时段的日志：超时、被丢弃的批次、写满的 webhook 队列。",
        "两者之间的环节：代理自身的大小限制和超时。",
    ),
    "webhooks_silent": (
        "对照 `presence-ledger config wukongim` 与节点自身的配置：地址、密钥。",
        "在节点上执行 `curl -i -X POST ADDRESS?event=user.onlinestatus -d '[]'`，应返回 200。",
        "`presence_ledger_webhooks_forbidden_total`：是否在用别的密钥发送？",
        "节点的日志：发送线程卡死时，重启该节点即可恢复。",
    ),
    "query_api_failing": (
        "`GET /v1/sources` 的 `reasons` 用文字说明了最近一次应答。",
        "401：检查 `token`，即节点的 managerToken。400：集群中有其他节点宕机。超时：节点是否过载？",
        "在本机执行 `curl -i API_URL/varz`（v1、v2）或 `API_URL/metrics`（v3）。",
    ),
    "source_dark": (
        "本机与 WuKongIM 之间的网络；再分别检查 webhook 和查询接口。",
        "`GET /v1/sources` 的 `dark_since`：从何时开始。",
        "若夜间无人在线、长时间没有任何消息，调整 `policy.dark_seconds`。",
    ),
    "node_down": (
        "进程还在吗？在节点上查看 `systemctl status` 或 `docker ps`，以及日志、内存和磁盘。",
        "`GET /v1/sources` 中该节点的 `down_since`；面板 *Nodes that are not up*：只有它，还是全部？",
        "在本机执行 `curl -i API_URL/varz`（v1、v2）或 `API_URL/metrics`（v3）。",
    ),
    "breaker_open": (
        "事件 `breaker_opened` 的 `missing` 和 `looked`：有多少用户被查询判为离线？",
        "换一种方式向 WuKongIM 求证：它自带管理后台或网关中的连接数。",
        "切换 leader 或重启后的空列表会自行恢复；真正的大规模下线在暂缓期过后会被采信。",
    ),
    "projection_stopped": (
        "`presence-ledger projections`：停在哪个位置，为什么？",
        "查看该事件：`GET /v1/ledger/events?after=POSITION-1&limit=1`。若是新版本的类型，请运行新版本。",
        '日志中的 `"event": "projection_stopped"` 带有缺陷的调用栈，请反馈给我们。',
    ),
    "projection_lagging": (
        "面板 *Projections behind* 和 *Events a second*：是会过去的高峰，还是超出了处理能力？",
        '机器和 PostgreSQL 的 CPU；`process_cpu_seconds_total{process="projector"}`。',
        "锁：占用其表的 `backup` 或报表（`pg_stat_activity`，`wait_event_type = 'Lock'`）。",
    ),
    "sink_failing": (
        "`presence-ledger sinks`：最近的错误及其时间。",
        "接收方自己的日志；证书是否有效，地址是否变了？",
        "积压多少：`presence_ledger_sink_lag_events`。",
    ),
    "store_unavailable": (
        '`GET /health/ready` 说明哪个查询没有应答；日志中的 `"event": "commits_fail"` 说明原因。',
        "PostgreSQL：进程、日志、磁盘，以及 `SELECT count(*) FROM pg_stat_activity`。",
        "谁持有账本的锁：导入会持续写入数分钟。",
    ),
    "spool_growing": (
        "`GET /health/ready`：是否仍为 `spooling`，从何时开始？",
        "`presence_ledger_spool_size_bytes` 下降：PostgreSQL 已恢复，缓存队列正在清空。",
        "PostgreSQL 有应答而它不下降：查看日志中的 `commits_fail` 或 `spooled_webhooks_refused`。",
    ),
    "archive_failing": (
        "`GET /v1/archive`：`failed` 说明上一次归档为何停下。",
        "`df -h ARCHIVE_DIR`，以及服务的用户能否写入。",
        "`presence-ledger archive verify`：文件是否齐全，是否与写入时一致？",
    ),
    "disk_low": (
        "`du -x --max-depth=2 DATA_DIR`：是数据库、预写日志、归档，还是别的？",
        "`presence_ledger_database_size_bytes` 和 `presence_ledger_wal_size_bytes`：哪个在增长，有多快？",
        "预写日志增长：可能有废弃的复制槽（`SELECT * FROM pg_replication_slots`）。",
    ),
    "canary_late": (
        "`presence-ledger alerts`：迟的是 webhook 还是查询？",
        "金丝雀是否被拒绝？原因由 WuKongIM 给出：token、封禁。",
        "面板 *Until durable* 和 *Since the last one*：是这里慢，还是路上慢？",
    ),
    "profile_mismatch": (
        "节点的版本：v1、v2 由 `GET /varz` 给出；v3 只应答 `GET /metrics`。",
        "`GET /v1/sources` 的 `reasons`：计数与哪些版本相符。",
        "滚动升级期间，每个节点可以有自己的 `profile`。",
    ),
    "webhook_secret_unknown": (
        '日志中的 `"event": "webhook_refused"` 带有来源地址：是你的节点吗？',
        "对照 `presence-ledger config wukongim` 与节点自身的配置。",
        "`GET /v1/sources`：更换密钥之后是否还收到过该节点的消息？",
    ),
    "wrong_cluster": (
        "设置中该节点的 `api_url`：指向的是以此名称发送 webhook 的那个节点吗？",
        "它列出的用户（`POST /user/onlinestatus`）与这里显示在线的用户是否一致。",
        "是否误抄了测试环境的地址。",
    ),
    "token_missing": (
        "节点的 `managerToken` 与设置中的 `token`。",
        "集群中的其他节点是否应答：它们可能各有各的 token。",
        "在本机执行 `curl -i -H 'token: …' API_URL/user/onlinestatus -d '[]'`，应返回 200。",
    ),
    "clock_skew": (
        "在本机和 PostgreSQL 所在机器上执行 `timedatectl` 或 `chronyc tracking`。",
        "`GET /health/ready` 的 `database_clock_offset_seconds`。",
        "机器是否曾被挂起，或迁移到别的宿主机。",
    ),
    "notify_failing": (
        "`presence-ledger alerts --all` 列出未能通知的内容。",
        "在本机用 `apprise` 命令测试该项的 `url`。",
        "机器人自身的限制：必需的关键词、允许的地址、发送频率。",
    ),
}
"""By the alert's name."""
