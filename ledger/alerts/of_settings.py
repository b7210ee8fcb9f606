"""The alerts of settings that do not fit what runs there: found by what nodes send and answer, with the way out."""

from ledger.alerts.definition import Definition, Threshold, Wording

OF_SETTINGS: tuple[Definition, ...] = (
    Definition(
        name="profile_mismatch",
        severity="warning",
        of_source=True,
        subject="node",
        title=Wording(
            "The profile of {subject} ({source}) is not its version's",
            "节点 {subject}（来源 {source}）的 profile 与其版本不符",
        ),
        summary=Wording(
            "The profile of {subject} ({source}) is {profile}, but {because}",
            "节点 {subject}（来源 {source}）的 profile 为 {profile}，但{because}",
        ),
        meaning=Wording(
            "The counts in its webhooks are read wrongly: sessions are ended that live, or kept that have ended.",
            "其 webhook 中的计数会被误读：可能结束仍存活的连接，或保留已断开的连接。",
        ),
        way_out=Wording(
            "Set `profile` of the node, or of its source, to the version that runs there.",
            "把该节点（或其来源）的 `profile` 改为实际运行的版本。",
        ),
        for_seconds=0,
        thresholds=(),
        expression="max by (job, source, node) (presence_ledger_profile_mismatch) == 1",
    ),
    Definition(
        name="webhook_secret_unknown",
        severity="critical",
        of_source=True,
        subject="node",
        title=Wording(
            "Webhooks are refused: their secret or a name in their address is not known",
            "有 webhook 被拒绝：密钥或地址中的名称不在设置中",
        ),
        summary=Wording(
            "{deliveries} webhooks were refused within {window_seconds}: {because}",
            "{window_seconds}内有 {deliveries} 次 webhook 被拒绝：{because}",
        ),
        meaning=Wording(
            "What it posts is lost: WuKongIM tries again a few times, then drops it.",
            "其 webhook 全部丢失：WuKongIM 重试几次后即丢弃。",
        ),
        way_out=Wording(
            "The node still uses an older secret, or another service's address. Paste what `presence-ledger config "
            "wukongim` prints into it; while rotating, keep the old secret in `webhook_secret` after the new one. "
            "A node that the settings do not have belongs into them. "
            "If it is none of your nodes, somebody tries secrets: close the port to them.",
            "该节点仍在用旧密钥，或填了别的服务的地址。把 `presence-ledger config wukongim` 打印的内容粘贴到节"
            "点配置；轮换期间在 "
            "`webhook_secret` 中把旧密钥留在新密钥之后。设置中没有的节点请补到设置里。若不是你的节点，说明有人"
            "在试密钥，请关闭其访问。",
        ),
        for_seconds=0,
        thresholds=(
            Threshold("window_seconds", 300, "the refused webhooks of so long are counted"),
            Threshold("deliveries", 3, "so many at least"),
        ),
        expression=(
            "sum by (job, source, node) (increase("
            "presence_ledger_webhooks_forbidden_total[${window_seconds}s])) >= ${deliveries}"
        ),
    ),
    Definition(
        name="wrong_cluster",
        severity="critical",
        of_source=True,
        subject="node",
        title=Wording("The settings of {source} name different servers", "来源 {source} 的配置指向了不同的服务器"),
        summary=Wording(
            "The settings of {source} name different servers: {because}",
            "来源 {source} 的配置指向了不同的服务器：{because}",
        ),
        meaning=Wording(
            "Looks compare users with a server that they are not connected to, and find them offline or online "
            "wrongly.",
            "查询所问的不是用户所连接的服务器，会把用户误判为离线或在线。",
        ),
        way_out=Wording(
            "Compare each node's `api_url` and webhook address with `presence-ledger config wukongim`: both "
            "are to be "
            "those of the same server.",
            "对照 `presence-ledger config wukongim`，逐个检查各节点的 `api_url` 与 webhook 地址，两者必须属于同"
            "一台服务器。",
        ),
        for_seconds=0,
        thresholds=(
            Threshold("users", 20, "so many users in a row whom webhooks named as online, and no answer of a query"),
        ),
        expression='max by (job, source, subject) (presence_ledger_alert_on{name="wrong_cluster"}) == 1',
    ),
    Definition(
        name="token_missing",
        severity="critical",
        of_source=True,
        subject="node",
        title=Wording(
            "{subject} ({source}) wants another token", "节点 {subject}（来源 {source}）拒绝了配置中的 token"
        ),
        summary=Wording(
            "{subject} ({source}) answers 401: it wants a managerToken, and {because}",
            "节点 {subject}（来源 {source}）应答 401：需要 managerToken，而{because}",
        ),
        meaning=Wording(
            "It answers no question, so that what webhooks miss stays unseen.",
            "该节点不应答任何查询，webhook 遗漏的变化无法发现。",
        ),
        way_out=Wording(
            "Set the node's `token` to the `managerToken` of its configuration.",
            "把该节点的 `token` 设为其配置中的 `managerToken`。",
        ),
        for_seconds=10,
        thresholds=(),
        expression='max by (job, source, subject) (presence_ledger_alert_on{name="token_missing"}) == 1',
    ),
    Definition(
        name="clock_skew",
        severity="warning",
        of_source=False,
        subject="instance",
        title=Wording("The clock of {subject} is wrong", "{subject} 的时钟不准"),
        summary=Wording(
            "The clocks of {subject} and of {other} differ by {offset_seconds}",
            "{subject} 与 {other} 的时钟相差 {offset_seconds}",
        ),
        meaning=Wording(
            "Instants on record are off by as much, and may not be compared between machines.",
            "记录中的时间会有同样大小的偏差，不同机器之间的时间无法比较。",
        ),
        way_out=Wording("See to NTP on both machines.", "检查两台机器的 NTP。"),
        for_seconds=30,
        thresholds=(Threshold("seconds", 1, "the clocks differ by so much"),),
        expression="max by (job, instance) (abs(presence_ledger_clock_offset_seconds)) > ${seconds}",
    ),
)
