"""The alerts that are on and that were, and who was told of them: the one place that knows the table.

A row is written in the transaction of its event; only its figures and notices change without one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, LiteralString, NamedTuple

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from ledger.domain.alert_events import Figures
from ledger.domain.observation import Instant

State = Literal["firing", "acknowledged", "resolved"]

Notices = Mapping[str, Mapping[str, Instant | None]]
"""By entry of `[[notify]]`: when its beginning (`began`) and its end (`ended`) were told; None: not yet."""

_COLUMNS: LiteralString = """
id, position, name, severity, source, subject, incident, began_at, since, figures, rests_on, acknowledged_at,
acknowledged_by, ended_at, notices
"""

_SELECT: LiteralString = f"SELECT {_COLUMNS} FROM alerts"  # noqa: S608  (of constants)

_IS_ON: LiteralString = _SELECT + " WHERE ended_at IS NULL ORDER BY position"
_RECENT: LiteralString = _SELECT + " WHERE ended_at IS NULL OR ended_at >= %s ORDER BY position"
_ONE: LiteralString = _SELECT + " WHERE id = %s"
_PAGE: LiteralString = _SELECT + " WHERE position > %(after)s{} ORDER BY position LIMIT %(limit)s"
_PAGE_BACK: LiteralString = _SELECT + " WHERE position < %(after)s{} ORDER BY position DESC LIMIT %(limit)s"
_BEYOND = 2**63 - 1

_OF_STATE: Mapping[State, LiteralString] = {
    "firing": " AND ended_at IS NULL AND acknowledged_at IS NULL",
    "acknowledged": " AND ended_at IS NULL AND acknowledged_at IS NOT NULL",
    "resolved": " AND ended_at IS NOT NULL",
}

_BEGIN: LiteralString = f"""
INSERT INTO alerts ({_COLUMNS})
VALUES (%(id)s, %(position)s, %(name)s, %(severity)s, %(source)s, %(subject)s, %(incident)s, %(began_at)s, %(since)s,
        %(figures)s, %(rests_on)s, NULL, NULL, NULL, %(notices)s)
"""  # noqa: S608  (of constants)

_END = "UPDATE alerts SET ended_at = %s, figures = %s WHERE id = %s"
_ACKNOWLEDGE = "UPDATE alerts SET acknowledged_at = %s, acknowledged_by = %s WHERE id = %s"
_FIGURES = "UPDATE alerts SET figures = %(figures)s WHERE id = %(id)s AND figures <> %(figures)s"
_REWRITE = "UPDATE alerts SET figures = %(figures)s WHERE id = %(id)s"
_NOTICES = "UPDATE alerts SET notices = notices || %s WHERE id = %s"

_COUNTS = """
SELECT name, count(*) FILTER (WHERE acknowledged_at IS NULL), count(*) FILTER (WHERE acknowledged_at IS NOT NULL)
  FROM alerts WHERE ended_at IS NULL GROUP BY name
"""


class AlertRow(NamedTuple):
    """An alert."""

    id: str
    position: int
    """Of the event that it began."""
    name: str
    severity: str
    source: str
    """`(service)`: of none."""
    subject: str
    incident: str
    began_at: Instant
    since: Instant
    figures: Figures
    rests_on: Sequence[int] = ()
    """The positions of events that tell of what is wrong."""
    acknowledged_at: Instant | None = None
    acknowledged_by: str | None = None
    ended_at: Instant | None = None
    notices: Notices = {}  # noqa: RUF012  (never changed)

    @property
    def state(self) -> State:
        if self.ended_at is not None:
            return "resolved"
        return "firing" if self.acknowledged_at is None else "acknowledged"


def on(connection: Connection[TupleRow]) -> list[AlertRow]:
    """Those that are on, in the order in which they began."""
    return _rows(connection, _IS_ON, ())


def recent(connection: Connection[TupleRow], since: Instant) -> list[AlertRow]:
    """Those that are on, and those that have ended since then."""
    return _rows(connection, _RECENT, (since,))


def get(connection: Connection[TupleRow], alert: str) -> AlertRow | None:
    """The alert of an id, if there is one."""
    found = _rows(connection, _ONE, (alert,))
    return found[0] if found else None


def page(
    connection: Connection[TupleRow], state: State | None, after: int | None, limit: int, *, newest_first: bool = False
) -> list[AlertRow]:
    """So many at most, of one state or of all, that began after that position; the newest first: before it."""
    condition = "" if state is None else _OF_STATE[state]
    query, end = (_PAGE_BACK, _BEYOND) if newest_first else (_PAGE, 0)
    return _rows(connection, query.format(condition), {"after": end if after is None else after, "limit": limit})


def counts(connection: Connection[TupleRow]) -> dict[str, tuple[int, int]]:
    """By name, how many are firing and how many are acknowledged."""
    return {name: (firing, known) for name, firing, known in connection.execute(_COUNTS).fetchall()}


def begin(cursor: Cursor[Any], row: AlertRow) -> None:
    """An alert begins."""
    values = row._asdict() | {
        "figures": Jsonb(dict(row.figures)),
        "notices": Jsonb({entry: dict(told) for entry, told in row.notices.items()}),
        "rests_on": list(row.rests_on),
    }
    cursor.execute(_BEGIN, values)


def end(cursor: Cursor[Any], alert: str, at: Instant, figures: Figures) -> None:
    """An alert ends."""
    cursor.execute(_END, (at, Jsonb(figures), alert))


def acknowledge(cursor: Cursor[Any], alert: str, at: Instant, by: str) -> None:
    """Somebody knows of it."""
    cursor.execute(_ACKNOWLEDGE, (at, by, alert))


def note_figures(connection: Connection[TupleRow], figures: Mapping[str, Figures]) -> None:
    """What alerts that are on rest on by now, by id."""
    for alert, each in figures.items():
        connection.execute(_FIGURES, {"id": alert, "figures": Jsonb(each)})


def rewrite_figures(cursor: Cursor[Any], alert: str, figures: Figures) -> None:
    """An erasure has left these figures of an alert's event, or of the row's own."""
    cursor.execute(_REWRITE, {"id": alert, "figures": Jsonb(figures)})


def note_notices(connection: Connection[TupleRow], alert: str, notices: Notices) -> None:
    """Who has been told of it; of other entries what was noted stays."""
    connection.execute(_NOTICES, (Jsonb({entry: dict(told) for entry, told in notices.items()}), alert))


def _rows(connection: Connection[TupleRow], query: LiteralString, params: Any) -> list[AlertRow]:
    return [AlertRow(*row) for row in connection.execute(query, params).fetchall()]


def by_incident(rows: Iterable[AlertRow]) -> dict[tuple[str, str, str, str], AlertRow]:
    """Alerts by what makes them one: name, source, subject, incident."""
    return {(row.name, row.source, row.subject, row.incident): row for row in rows}
