"""What the API answers about alerts."""

from typing import Literal

from msgspec import Struct

from ledger.alerts.definition import Severity
from ledger.alerts.definitions import BY_NAME
from ledger.alerts.words import told, told_cost
from ledger.domain.alert_events import SERVICE
from ledger.domain.instants import Timestamp, optional, to_text
from ledger.working_state.alerts import AlertRow


class BothLanguages(Struct):
    """The same in English and in Chinese."""

    en: str
    zh: str


class NoticeBody(Struct):
    """When an entry of `[[notify]]` was told of an alert's beginning and of its end; null: not, or not yet."""

    began_at: Timestamp | None
    ended_at: Timestamp | None


class AlertBody(Struct, kw_only=True):
    """An alert: what is wrong, since when, and what to do.

    `source` is null where it is of none; `subject` names the node, projection, sink, instance or entry of `[[notify]]`
    that is wrong, where it is not the source as a whole. `events` are the positions of the events that it rests on,
    that of its own beginning last. `cost` says, once it is over, how many users of its source looks have found to be
    shown wrongly meanwhile, and for how long together; null where none. `figures` are the last ones of the time when
    its condition held.
    """

    id: str
    name: str
    severity: Severity
    state: Literal["firing", "acknowledged", "resolved"]
    source: str | None
    subject: str | None
    since: Timestamp
    began_at: Timestamp
    ended_at: Timestamp | None
    acknowledged_at: Timestamp | None
    acknowledged_by: str | None
    title: BothLanguages
    summary: BothLanguages
    meaning: BothLanguages
    way_out: BothLanguages
    cost: BothLanguages | None
    runbook: str
    events: list[int]
    figures: dict[str, str | int | float]
    notices: dict[str, NoticeBody]


class AlertPage(Struct):
    """Alerts in the order in which they began."""

    items: list[AlertBody]
    next: str | None


def body(row: AlertRow) -> AlertBody:
    """An alert as it is answered."""
    definition = BY_NAME[row.name]
    en, zh = (told(definition, row.source, row.subject, row.figures, language) for language in ("en", "zh"))
    return AlertBody(
        id=row.id,
        name=row.name,
        severity=definition.severity,
        state=row.state,
        source=None if row.source == SERVICE else row.source,
        subject=row.subject or None,
        since=to_text(row.since),
        began_at=to_text(row.began_at),
        ended_at=optional(row.ended_at),
        acknowledged_at=optional(row.acknowledged_at),
        acknowledged_by=row.acknowledged_by,
        title=BothLanguages(en.title, zh.title),
        summary=BothLanguages(en.summary, zh.summary),
        meaning=BothLanguages(en.meaning, zh.meaning),
        way_out=BothLanguages(en.way_out, zh.way_out),
        cost=_cost(row),
        runbook=definition.runbook,
        events=[*row.rests_on, row.position],
        figures=row.figures,
        notices={
            entry: NoticeBody(optional(each.get("began")), optional(each.get("ended")))
            for entry, each in row.notices.items()
        },
    )


def _cost(row: AlertRow) -> BothLanguages | None:
    en, zh = (told_cost(row.source, row.figures, language) for language in ("en", "zh"))
    return None if en is None or zh is None else BothLanguages(en, zh)
