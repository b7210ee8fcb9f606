"""What a notice says: an alert's beginning or its end, in the language of who is told."""

from typing import Literal, NamedTuple

from ledger.alerts.definition import SEVERITIES, Severity, Wording
from ledger.alerts.definitions import BY_NAME
from ledger.alerts.words import told, told_cost
from ledger.domain.instants import to_text
from ledger.domain.observation import SECOND
from ledger.languages import Language
from ledger.working_state.alerts import AlertRow

What = Literal["began", "ended"]

KINDS: dict[str, str] = {"info": "info", "warning": "warning", "critical": "failure"}
"""Apprise's words for severities."""
OVER = "success"

_SEVERITIES: dict[str, Wording] = {
    "info": Wording("info", "提示"),
    "warning": Wording("warning", "警告"),
    "critical": Wording("critical", "严重"),
}
_RESOLVED = Wording("resolved", "已恢复")
_SINCE = Wording("Since {since}.", "开始时间：{since}。")
_LASTED = Wording("From {since} to {until} ({minutes} min).", "从 {since} 到 {until}（{minutes} 分钟）。")
_MORE = Wording(
    "What it means: {meaning}\nWhat to do: {way_out}\nAlert {id}: presence-ledger alerts",
    "影响：{meaning}\n处理：{way_out}\n告警 {id}：presence-ledger alerts",
)


class Notice(NamedTuple):
    """A notice about an alert, as apprise takes it."""

    alert: str
    what: What
    title: str
    body: str
    kind: str


def notice(row: AlertRow, what: What, language: Language) -> Notice:
    """What is told of an alert."""
    words = told(BY_NAME[row.name], row.source, row.subject, row.figures, language)
    if what == "ended" and row.ended_at is not None:
        minutes = max(0, row.ended_at - row.since) / SECOND / 60
        when = _of(_LASTED, language).format(
            since=_clock(row.since), until=_clock(row.ended_at), minutes=f"{minutes:,.0f}"
        )
        title = f"[{_of(_RESOLVED, language)}] {words.title}"
        cost = told_cost(row.source, row.figures, language)
        return Notice(row.id, what, title, "\n".join(filter(None, (words.summary, when, cost))), OVER)
    severity = _of(_SEVERITIES.get(row.severity, Wording(row.severity, row.severity)), language)
    when = _of(_SINCE, language).format(since=_clock(row.since))
    more = _of(_MORE, language).format(meaning=words.meaning, way_out=words.way_out, id=row.id)
    title = f"[{severity}] {words.title}"
    return Notice(row.id, what, title, f"{words.summary}\n{when}\n{more}", KINDS.get(row.severity, "info"))


def reaches(severity: str, least: Severity) -> bool:
    """Whether who is told from a severity on is told of an alert of that one; of one that is not known, too."""
    known: tuple[str, ...] = SEVERITIES
    return severity not in known or known.index(severity) >= known.index(least)


def _of(words: Wording, language: Language) -> str:
    return words.zh if language == "zh" else words.en


def _clock(instant: int) -> str:
    return f"{to_text(instant)[:19].replace('T', ' ')} UTC"
