"""The alerts of a source: what its webhooks, its query APIs and its nodes' settings say."""

from ledger.alerts.definition import Definition, Threshold, Wording


def _burns(window: str, burn: str) -> str:
    """Whether the share of lost transitions within a window is above so many times the budget."""
    lost, learnt = (
        f"sum by (job, source) (increase(presence_ledger_{counted}[${{{window}_seconds}}s]))"
        for counted in (
            'drifts_total{kind=~"ghost|missed",cause!~"restart|node"}',
            'webhook_items_total{verdict=~"opened|closed"}',
        )
    )
    return f"{lost} > ${{{burn}}} * ${{share}} * ({lost} + {learnt})"


OF_SOURCES: tuple[Definition, ...] = (
    Definition(
        name="drift_rate",
        severity="warning",
        of_source=True,
        subject="node",
        title=Wording("Many users of {source} were shown wrongly", "来源 {source} 有大量用户的状态显示有误"),
        summary=Wording(
            "{users} users of {source} were shown wrongly within {window_seconds} ({drift_share} of those "
            "looked at): "
            "{because}",
            "来源 {source} 在 {window_seconds}内有 {users} 个用户的状态显示有误（占被查询用户的 "
            "{drift_share}）：{because}",
        ),
        meaning=Wording(
            "Looks at WuKongIM found users in another status than the one shown, and corrected them. Until "
            "then, apps "
            "showed them wrongly.",
            "向 WuKongIM 查询后发现一批用户的实际状态与显示不一致，现已校正。校正之前，业务端看到的状态是错的。",
        ),
        way_out=Wording(
            "A restart or the loss of a node explains itself. Otherwise webhooks are lost: see "
            "`presence-ledger loss`, "
            "refused webhooks in `/v1/sources`, and WuKongIM's log for dropped batches.",
            "若原因是节点重启或宕机，无需处理。否则说明有 webhook 丢失：查看 `presence-ledger loss`、"
            "`/v1/sources` 中被拒绝的 "
            "webhook，以及 WuKongIM 日志中被丢弃的批次。",
        ),
        for_seconds=0,
        thresholds=(
            Threshold("window_seconds", 600, "the corrections of so long are counted"),
            Threshold("share", 0.02, "of the users looked at"),
            Threshold("users", 20, "and at least so many users"),
        ),
        expression=(
            "sum by (job, source) (increase(presence_ledger_drifts_total[${window_seconds}s]))"
            " > ${share} * sum by (job, source) (increase(presence_ledger_looks_total[${window_seconds}s]))"
            " and sum by (job, source) (increase(presence_ledger_drifts_total[${window_seconds}s])) >= ${users}"
        ),
    ),
    Definition(
        name="webhook_loss_budget",
        severity="warning",
        of_source=True,
        subject="",
        title=Wording("{source} loses more webhooks than its budget", "来源 {source} 的 webhook 丢失超出预算"),
        summary=Wording(
            "{source} lost {lost} of {transitions} transitions within {window_seconds} ({loss_share}): {burn_rate} "
            "times what its budget of {budget_share} allows",
            "来源 {source} 在 {window_seconds}内的 {transitions} 次状态变化中有 {lost} 次丢失了 webhook（"
            "{loss_share}），"
            "是预算（{budget_share}）的 {burn_rate} 倍",
        ),
        meaning=Wording(
            "Changes of status were learnt from looks, minutes late, since no webhook told of them. Restarts of "
            "WuKongIM are not counted.",
            "部分状态变化没有 webhook 通知，要等几分钟后的查询才能得知。WuKongIM 重启造成的不计在内。",
        ),
        way_out=Wording(
            "`presence-ledger loss` tells the nodes and the hours. Look there for webhooks answered 503 or 413, for "
            "time-outs in WuKongIM's log, and for a proxy between the two.",
            "用 `presence-ledger loss` 查看是哪些节点、哪些时段，再检查该时段是否有应答 503 或 413 的 webhook、"
            "WuKongIM "
            "日志中的超时，以及两者之间的代理。",
        ),
        for_seconds=0,
        thresholds=(
            Threshold("share", 0.001, "the budget: so much of all transitions may be lost"),
            Threshold("fast_burn", 6, "times the budget, in both fast windows"),
            Threshold("fast_window_seconds", 21_600, "the long fast window"),
            Threshold("fast_short_seconds", 1_800, "the short fast window"),
            Threshold("slow_burn", 1, "times the budget, in both slow windows"),
            Threshold("slow_window_seconds", 259_200, "the long slow window"),
            Threshold("slow_short_seconds", 21_600, "the short slow window"),
            Threshold("lost", 10, "so many lost in the long window at least"),
        ),
        expression=(
            f"({_burns('fast_window', 'fast_burn')} and {_burns('fast_short', 'fast_burn')})"
            f" or ({_burns('slow_window', 'slow_burn')} and {_burns('slow_short', 'slow_burn')})"
        ),
    ),
    Definition(
        name="webhooks_silent",
        severity="critical",
        of_source=True,
        subject="node",
        title=Wording("Webhooks of {source} have stopped", "来源 {source} 的 webhook 已中断"),
        summary=Wording(
            "Webhooks of {source} have stopped ({because}): looks found {users} users who came or went untold, and "
            "the last webhook came {last_webhook_at}",
            "来源 {source} 的 webhook 已中断（{because}）：查询发现有 {users} 个用户上线或下线而没有 webhook 通知，"
            "最近一次 webhook 是 {last_webhook_at}",
        ),
        meaning=Wording(
            "Queries still answer, so every change is found at the next look, seconds to minutes late.",
            "查询仍有应答，因此每次变化都要等到下一次查询才能发现，会晚几秒到几分钟。",
        ),
        way_out=Wording(
            "Look at the webhook's address and secret on the nodes (`presence-ledger config wukongim` prints them), "
            "whether they reach this service, and WuKongIM's log.",
            "检查各节点上 webhook 的地址和密钥（`presence-ledger config wukongim` 会打印）、节点到本服务的网络"
            "，以及 WuKongIM "
            "的日志。",
        ),
        for_seconds=0,
        thresholds=(
            Threshold("users", 2, "so many users came or went without a webhook since the last one"),
            Threshold("after_seconds", 60, "and the first of them was found so long ago"),
        ),
        expression="max by (job, source) (presence_ledger_webhooks_silent) == 1",
    ),
    Definition(
        name="query_api_failing",
        severity="warning",
        of_source=True,
        subject="node",
        title=Wording("The query API of {subject} ({source}) fails", "节点 {subject}（来源 {source}）的查询接口不可用"),
        summary=Wording(
            "No good answer from the query API of {subject} ({source}), {failures} failures in a row: {reason}",
            "节点 {subject}（来源 {source}）的查询接口没有正常应答（连续失败 {failures} 次）：{reason}",
        ),
        meaning=Wording(
            "What webhooks miss stays unseen, and nobody can be verified through this node.",
            "webhook 遗漏的变化无法发现，也无法通过该节点核实任何用户。",
        ),
        way_out=Wording(
            "Ask the node yourself: `curl API_URL/varz`, with its token. 401: `token` in the settings; 400: a "
            "peer of "
            "the cluster is down; a time-out: the node is overloaded, lower `policy.budget_calls`.",
            "直接访问该节点试试：`curl API_URL/varz`（带上 token）。401 检查配置中的 `token`；400 说明集群中有"
            "其他节点宕机；"
            "超时说明节点过载，调低 `policy.budget_calls`。",
        ),
        for_seconds=60,
        thresholds=(),
        expression=(
            "time() - max by (job, source, node) (presence_ledger_last_query_timestamp_seconds) > 30"
            " unless on (job, source, node) presence_ledger_node_up == 0"
        ),
    ),
    Definition(
        name="source_dark",
        severity="critical",
        of_source=True,
        subject="",
        title=Wording("Nothing is heard of {source}", "来源 {source} 已失联"),
        summary=Wording(
            "Nothing has been heard of {source} since {dark_since_at}: no webhook, and no good answer to a query",
            "来源 {source} 自 {dark_since_at} 起失联：既没有 webhook，查询也没有应答",
        ),
        meaning=Wording(
            "All users of the source are shown `unknown`, reason `source_dark`, until it is heard of again.",
            "在恢复之前，该来源的所有用户都显示为“未知”（`source_dark`）。",
        ),
        way_out=Wording(
            "Is WuKongIM running, and can this machine reach it? Then look at its webhook address and at `api_url`.",
            "确认 WuKongIM 是否在运行、本机能否连通，再检查 webhook 地址和 `api_url`。",
        ),
        for_seconds=0,
        thresholds=(),
        expression="max by (job, source) (presence_ledger_source_dark) == 1",
    ),
    Definition(
        name="node_down",
        severity="critical",
        of_source=True,
        subject="node",
        title=Wording("Node {subject} of {source} is down", "来源 {source} 的节点 {subject} 宕机"),
        summary=Wording(
            "Node {subject} of {source} has not answered since {down_since_at}",
            "来源 {source} 的节点 {subject} 自 {down_since_at} 起不再应答",
        ),
        meaning=Wording(
            "Users who may be connected to it are shown `unknown`, reason `node_down`.",
            "可能连接在该节点上的用户显示为“未知”（`node_down`）。",
        ),
        way_out=Wording(
            "Bring the node back; who was connected to it is found out by itself. One that is gone for good: "
            "remove it "
            "from the settings.",
            "恢复该节点即可，其上的用户会自动核对。若节点永久下线，请从配置中移除。",
        ),
        for_seconds=10,
        thresholds=(),
        expression="min by (job, source, node) (presence_ledger_node_up) == 0",
    ),
    Definition(
        name="breaker_open",
        severity="warning",
        of_source=True,
        subject="",
        title=Wording("Corrections of {source} are held", "来源 {source} 的离线校正已暂停"),
        summary=Wording(
            "Too many online users of {source} were said to be offline at once: corrections to offline are "
            "held until "
            "{until_at} at least",
            "来源 {source} 一次有过多在线用户被查为离线：离线校正暂停，至少到 {until_at}",
        ),
        meaning=Wording(
            "Users who really left may be shown online a little longer; nobody is wrongly turned offline.",
            "确实已离线的用户可能会多显示一会儿在线，但不会有人被误判为离线。",
        ),
        way_out=Wording(
            "It ends by itself. If it comes back: look for a leader change or a restart in WuKongIM's log, and "
            "whether "
            "`api_url` is that of the right cluster.",
            "会自动恢复。若反复出现，检查 WuKongIM 日志中是否有主节点切换或重启，以及 `api_url` 是否指向正确的集群。",
        ),
        for_seconds=0,
        thresholds=(),
        expression="max by (job, source) (presence_ledger_breaker_open) == 1",
    ),
    Definition(
        name="canary_late",
        severity="critical",
        of_source=True,
        subject="node",
        title=Wording(
            "The canary of {subject} ({source}) is not heard of", "节点 {subject}（来源 {source}）的金丝雀没有回音"
        ),
        summary=Wording(
            "The canary of {subject} ({source}) was last seen from its socket to the ledger {last_seen_at}: {reason}",
            "节点 {subject}（来源 {source}）的金丝雀最近一次从连接到入账走通是 {last_seen_at}：{reason}",
        ),
        meaning=Wording(
            "A user who connected would not be shown, or late: the way from a socket to the ledger does not work.",
            "从客户端连接到入账的链路不通：此时上线的用户不会显示，或者显示得很晚。",
        ),
        way_out=Wording(
            "The reason says where it broke: at the connection (is the node up? is the canary's token right?), or "
            "between the webhook and the ledger (`webhooks_silent`, `store_unavailable`).",
            "原因中写明断在哪一段：连接（节点是否在运行、金丝雀的 token 是否正确），或 webhook 到入账之间"
            "（见 `webhooks_silent`、`store_unavailable`）。",
        ),
        for_seconds=0,
        thresholds=(Threshold("after_seconds", 180, "it was last seen so long ago"),),
        expression=(
            "time() - max by (job, source, node) (presence_ledger_canary_last_seen_timestamp_seconds)"
            " > clamp_min(3 * max by (job, source, node) (presence_ledger_canary_every_seconds), ${after_seconds})"
        ),
    ),
)
