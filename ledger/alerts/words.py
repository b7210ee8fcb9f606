"""An alert in words: its summary in each language, with its figures written as people read them."""

from collections.abc import Mapping
from typing import NamedTuple

from ledger.alerts.definition import Definition, Wording
from ledger.domain.alert_events import SERVICE
from ledger.languages import Language
from ledger.text import printable

BECAUSE: Mapping[str, Wording] = {
    "drift_restart": Wording("node {node} restarted", "节点 {node} 重启"),
    "drift_node": Wording("node {node} was down", "节点 {node} 宕机"),
    "drift_lost": Wording("no webhook told of them", "没有相应的 webhook 通知"),
    "strangers": Wording(
        "of the last {users} users whom webhooks named as online, queries found nobody",
        "webhook 通知在线的最近 {users} 个用户，查询一个也找不到",
    ),
    "same_server": Wording(
        "the api_url of {node} leads to the server that {other_node} leads to, too",
        "节点 {node} 的 api_url 与 {other_node} 的指向同一台服务器",
    ),
    "posts_as_other": Wording(
        "webhooks under the name of {node} come from the address of {other_node}",
        "以节点 {node} 的名义发来的 webhook 来自 {other_node} 的地址",
    ),
    "silent_source": Wording("none comes", "一个也收不到"),
    "silent_node": Wording("none of {node}, while those of others come", "节点 {node} 不再发送，其他节点照常"),
    "unknown_secret": Wording(
        "the secret of {node} ({source}) is not known", "节点 {node}（来源 {source}）的密钥不正确"
    ),
    "unknown_node": Wording("{source} has no node of that name", "来源 {source} 中没有该名称的节点"),
    "unknown_source": Wording("there is no source of that name", "没有该名称的来源"),
    "token_missing": Wording("none is set", "配置中没有设置"),
    "token_refused": Wording("the one of the settings is refused", "配置中的 token 被拒绝"),
    "onlines count their own connection": Wording(
        "onlines count their own connection ({against} of {signs} signs), as in {likely}",
        "上线通知的计数包含了本次连接（{signs} 个迹象中的 {against} 个），与 {likely} 一致",
    ),
    "onlines leave out their own connection": Wording(
        "onlines leave out their own connection ({against} of {signs} signs), as in {likely}",
        "上线通知的计数不含本次连接（{signs} 个迹象中的 {against} 个），与 {likely} 一致",
    ),
    "offlines come for each connection": Wording(
        "offlines come for each connection ({against} of {signs} signs), as in {likely}",
        "每个连接断开都有下线通知（{signs} 个迹象中的 {against} 个），与 {likely} 一致",
    ),
    "offlines come for a user's last connection alone": Wording(
        "offlines come for a user's last connection alone ({against} of {signs} signs), as in {likely}",
        "只有用户最后一个连接断开才有下线通知（{signs} 个迹象中的 {against} 个），与 {likely} 一致",
    ),
}
"""What `{because}` stands for, by the figure `why`."""

OTHERS: Mapping[str, Wording] = {
    "database": Wording("its database", "其数据库"),
    "service": Wording("this service", "本服务"),
}
"""What `{other}` stands for."""

WRONG_USERS, LEAST, MOST = "wrong_users", "user_seconds_at_least", "user_seconds_at_most"
"""Figures of an alert that has ended: what looks have found by then of users who were shown wrongly meanwhile."""

_COST = Wording(
    "{wrong_users} users of {source} were shown wrongly meanwhile, for {user_seconds_at_least} to "
    "{user_seconds_at_most} user-seconds together",
    "期间来源 {source} 有 {wrong_users} 个用户的状态显示有误，合计 {user_seconds_at_least} 至 "
    "{user_seconds_at_most} 用户·秒",
)

_NEVER = Wording("never", "从未")
_UNITS = (
    (86_400, Wording("d", " 天")),
    (3_600, Wording("h", " 小时")),
    (60, Wording("min", " 分钟")),
    (1, Wording("s", " 秒")),
)
_SIZES = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


class AlertText(NamedTuple):
    """What is told of an alert in one language."""

    title: str
    summary: str
    meaning: str
    way_out: str


def told(
    definition: Definition, source: str, subject: str, figures: Mapping[str, str | int | float], language: Language
) -> AlertText:
    """An alert in words."""
    facts = _Facts({name: _written(name, value, language) for name, value in figures.items()})
    facts["source"] = "" if source == SERVICE else printable(source)
    facts["subject"] = printable(subject) or facts["source"]
    if (because := BECAUSE.get(str(figures.get("why")))) is not None:
        facts["because"] = _of(because, language).format_map(facts)
    if (other := OTHERS.get(str(figures.get("other")))) is not None:
        facts["other"] = _of(other, language)
    return AlertText(
        *(
            _of(words, language).format_map(facts)
            for words in (definition.title, definition.summary, definition.meaning, definition.way_out)
        )
    )


def told_cost(source: str, figures: Mapping[str, str | int | float], language: Language) -> str | None:
    """What an alert that is over has cost the users of its source; None where none was found to be shown wrongly."""
    if WRONG_USERS not in figures:
        return None
    facts = {name: f"{round(float(figures.get(name, 0))):,}" for name in (WRONG_USERS, LEAST, MOST)}
    return _of(_COST, language).format(source=printable(source), **facts)


class _Facts(dict[str, str]):
    """An alert that another version put on record may lack a figure."""

    def __missing__(self, name: str) -> str:
        return "?"


def _of(words: Wording, language: Language) -> str:
    return words.zh if language == "zh" else words.en


def _written(name: str, value: str | float, language: Language) -> str:
    if name.endswith("_at"):
        return f"{str(value)[:19].replace('T', ' ')} UTC" if value else _of(_NEVER, language)
    if isinstance(value, str):
        return printable(value)
    if name.endswith("_seconds"):
        return _duration(value, language)
    if name.endswith("_share"):
        return f"{100 * value:.3g} %"
    if name.endswith("_bytes"):
        return _size(value)
    return f"{value:,.0f}" if value == int(value) else f"{value:,.6g}"


def _duration(seconds: float, language: Language) -> str:
    """`10 min`, `3 d`, `1.2 s`: in the largest unit of which it is a whole number, else in seconds."""
    for length, unit in _UNITS:
        if seconds >= length and seconds % length == 0:
            return f"{seconds // length:.0f}{_spaced(unit, language)}"
    return f"{seconds:.3g}{_spaced(_UNITS[-1][1], language)}"


def _spaced(unit: Wording, language: Language) -> str:
    return unit.zh if language == "zh" else f" {unit.en}"


def _size(number: float) -> str:
    for length, unit in _SIZES:
        if number >= length:
            return f"{number / length:.1f} {unit}"
    return f"{number:.0f} B"
