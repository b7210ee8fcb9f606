"""The alerts of the service itself: its store, its disk, its projections, its sinks, its notices."""

from ledger.alerts.definition import Definition, Threshold, Wording

OF_SERVICE: tuple[Definition, ...] = (
    Definition(
        name="projection_stopped",
        severity="critical",
        of_source=False,
        subject="projection",
        title=Wording("Projection {subject} has stopped", "投影 {subject} 已停止"),
        summary=Wording(
            "Projection {subject} has stopped at position {position}: {reason}",
            "投影 {subject} 停在账本位置 {position}：{reason}",
        ),
        meaning=Wording(
            "Who is online is answered as ever; what the projection tells (sessions, drifts) stays as it was there.",
            "当前在线状态不受影响；该投影提供的内容（会话、偏差等）停留在此处。",
        ),
        way_out=Wording(
            "`presence-ledger projections` says why. An unknown kind: run the newer version that wrote it. "
            "Else upgrade, "
            "or go on without the event: `presence-ledger projections --skip PROJECTION POSITION`.",
            "用 `presence-ledger projections` 查看原因。若是未知事件类型，请运行写入它的新版本；否则升级，或跳"
            "过该事件："
            "`presence-ledger projections --skip PROJECTION POSITION`。",
        ),
        for_seconds=0,
        thresholds=(),
        expression="max by (job, projection) (presence_ledger_projection_stopped) == 1",
    ),
    Definition(
        name="projection_lagging",
        severity="warning",
        of_source=False,
        subject="projection",
        title=Wording("Projection {subject} lags", "投影 {subject} 落后"),
        summary=Wording(
            "Projection {subject} is {lag} events behind the ledger",
            "投影 {subject} 落后账本 {lag} 个事件",
        ),
        meaning=Wording(
            "Sessions and drifts of the last while are not shown yet; who is online is.",
            "最近的会话和偏差尚未显示；当前在线状态不受影响。",
        ),
        way_out=Wording(
            "After a storm of webhooks it catches up. If it grows for long, the machine or PostgreSQL is too "
            "small: look "
            "at their processors and disk.",
            "webhook 高峰之后会自行追上。若持续增长，说明机器或 PostgreSQL 配置不足，检查其 CPU 和磁盘。",
        ),
        for_seconds=300,
        thresholds=(Threshold("events", 100_000, "it is so many positions behind"),),
        expression="max by (job, projection) (presence_ledger_projection_lag_events) > ${events}",
    ),
    Definition(
        name="sink_failing",
        severity="warning",
        of_source=False,
        subject="sink",
        title=Wording("Sink {subject} fails", "sink {subject} 推送失败"),
        summary=Wording(
            "Every attempt to tell sink {subject} has failed since {failing_since_at}: {reason}",
            "自 {failing_since_at} 起，对 sink {subject} 的推送全部失败：{reason}",
        ),
        meaning=Wording(
            "Its receiver knows nothing of what changed since; nothing is lost, it is told once it takes it again.",
            "接收方不知道此后的变化；内容不会丢失，恢复后会补发。",
        ),
        way_out=Wording(
            "`presence-ledger sinks` shows the last error. Bring the receiver back; after a 410, "
            "`presence-ledger sinks resume NAME`.",
            "用 `presence-ledger sinks` 查看最近的错误，恢复接收方；若曾应答 410，再执行 "
            "`presence-ledger sinks resume NAME`。",
        ),
        for_seconds=0,
        thresholds=(Threshold("after_seconds", 600, "every attempt has failed for so long"),),
        expression=(
            "time() - max by (job, sink) (presence_ledger_sink_failing_timestamp_seconds > 0) > ${after_seconds}"
        ),
    ),
    Definition(
        name="store_unavailable",
        severity="critical",
        of_source=False,
        subject="",
        title=Wording("PostgreSQL does not take what is written", "PostgreSQL 无法写入"),
        summary=Wording(
            "PostgreSQL has not taken writes since {failing_since_at}: {reason}",
            "自 {failing_since_at} 起 PostgreSQL 无法写入：{reason}",
        ),
        meaning=Wording(
            "Webhooks go to the spool, as long as that has room (`spool_bytes`); then, or where it is off, they are "
            "answered 503, and WuKongIM drops them after a few tries. Presences are answered from memory, marked, for "
            "`stale_seconds`; no other question is.",
            "webhook 进入缓存队列，直至写满（`spool_bytes`）；写满或未启用时应答 503，WuKongIM 重试若干次后丢弃。在线"
            "状态在 `stale_seconds` 内由内存应答并加标记，其余查询无法应答。",
        ),
        way_out=Wording(
            "Is PostgreSQL running, has it connections and disk left, does it accept writes? The service goes on by "
            "itself once it does, and what was spooled is judged as of when it came.",
            "检查 PostgreSQL 是否在运行、连接数和磁盘是否用尽、是否处于只读。恢复后本服务会自动继续，缓存的 webhook "
            "按收到时刻判定。",
        ),
        for_seconds=15,
        thresholds=(),
        expression=(
            "min by (job, instance) (presence_ledger_database_up) == 0"
            " or max by (job, instance) (presence_ledger_commits_failing) == 1"
        ),
    ),
    Definition(
        name="spool_growing",
        severity="warning",
        of_source=False,
        subject="instance",
        title=Wording("The spool of {subject} fills up", "{subject} 的缓存队列即将写满"),
        summary=Wording(
            "{webhooks} webhooks wait in the spool of {subject}, {spool_bytes} of {spool_max_bytes}",
            "{subject} 的缓存队列中有 {webhooks} 个 webhook，已用 {spool_bytes}（上限 {spool_max_bytes}）",
        ),
        meaning=Wording(
            "Once the spool is full, webhooks are answered 503, and WuKongIM drops them after a few tries.",
            "写满后 webhook 只能得到 503，WuKongIM 重试若干次后丢弃。",
        ),
        way_out=Wording(
            "Bring PostgreSQL back (`store_unavailable` says why it is away). Until then: more `spool_bytes`, if the "
            "disk of `data_dir` has room, and a restart.",
            "先恢复 PostgreSQL（原因见 `store_unavailable`）。在此之前，若 `data_dir` 所在磁盘有余量，可调大 "
            "`spool_bytes` 并重启。",
        ),
        for_seconds=0,
        thresholds=(Threshold("share", 0.5, "more than this share of `spool_bytes` is taken"),),
        expression="presence_ledger_spool_size_bytes > ${share} * presence_ledger_spool_max_bytes",
    ),
    Definition(
        name="archive_failing",
        severity="warning",
        of_source=False,
        subject="instance",
        title=Wording("Nothing is archived by {subject}", "{subject} 的归档停止"),
        summary=Wording(
            "{subject} has archived nothing since {failing_since_at}: {reason}",
            "{subject} 自 {failing_since_at} 起没有归档任何事件：{reason}",
        ),
        meaning=Wording(
            "Old events stay in the database, which grows. None of them is lost.",
            "旧事件留在数据库里，数据库会继续增长；没有事件丢失。",
        ),
        way_out=Wording(
            "The reason says it: room or rights for `retention.archive_dir`, a file that is missing, a sink that has "
            "to be resumed. It is tried again once an hour; `presence-ledger archive` does it now.",
            "按原因处理：`retention.archive_dir` 的空间或权限、丢失的文件、需要恢复的 sink。每小时重试一次，"
            "`presence-ledger archive` 可立即执行。",
        ),
        for_seconds=0,
        thresholds=(Threshold("waits_seconds", 10_800, "it has waited for somebody for so long"),),
        expression='max by (job, subject) (presence_ledger_alert_on{name="archive_failing"}) == 1',
    ),
    Definition(
        name="disk_low",
        severity="critical",
        of_source=False,
        subject="instance",
        title=Wording("The disk of {subject} is nearly full", "{subject} 的磁盘空间不足"),
        summary=Wording(
            "{free_bytes} of {size_bytes} are free for {folder} on {subject}",
            "{subject} 上 {folder} 所在磁盘仅剩 {free_bytes}（共 {size_bytes}）",
        ),
        meaning=Wording(
            "A full disk stops the embedded PostgreSQL, and takes nothing into the spool: webhooks get 503, and "
            "WuKongIM drops them in the end.",
            "磁盘写满后内置 PostgreSQL 会停止，缓存队列也无法写入，webhook 只能得到 503，最终被 WuKongIM 丢弃。",
        ),
        way_out=Wording(
            "Free space or enlarge the disk; a PostgreSQL of your own (`database_url`) can be elsewhere.",
            "清理或扩容磁盘；也可以用 `database_url` 改用别处自己的 PostgreSQL。",
        ),
        for_seconds=30,
        thresholds=(
            Threshold("share", 0.1, "less of the disk is free"),
            Threshold("bytes", 1_073_741_824, "or less than so many bytes"),
        ),
        expression=(
            "presence_ledger_disk_free_bytes < ${share} * presence_ledger_disk_size_bytes"
            " or presence_ledger_disk_free_bytes < ${bytes}"
        ),
    ),
    Definition(
        name="notify_failing",
        severity="warning",
        of_source=False,
        subject="notify",
        title=Wording("Notices to {subject} fail", "发往 {subject} 的通知失败"),
        summary=Wording(
            "Notices of alerts to {subject} have failed since {failing_since_at}, {waiting} wait: {reason}",
            "自 {failing_since_at} 起发往 {subject} 的告警通知全部失败，{waiting} 条待发：{reason}",
        ),
        meaning=Wording(
            "Who reads there is not told of alerts.",
            "通过该渠道接收告警的人收不到通知。",
        ),
        way_out=Wording(
            "Try the entry's `url` of `[[notify]]` with the `apprise` command; is the robot's token or keyword still "
            "right, and can this machine reach it?",
            "用 `apprise` 命令测试 `[[notify]]` 中该项的 `url`：机器人的 token、关键词是否仍有效，本机能否访问。",
        ),
        for_seconds=0,
        thresholds=(Threshold("after_seconds", 120, "every attempt has failed for so long"),),
        expression='max by (job, subject) (presence_ledger_alert_on{name="notify_failing"}) == 1',
    ),
)
