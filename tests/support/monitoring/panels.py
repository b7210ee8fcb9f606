"""Panels of a Grafana dashboard as JSON values: numbers, lines, states, words, and the rows that hold them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24


class Panel(NamedTuple):
    """What is shown of some queries; each with its legend. `width` of 24, `height` in units of Grafana's grid."""

    kind: str
    title: str
    queries: Sequence[tuple[str, str]]
    says: str = ""
    unit: str = "short"
    width: int = 8
    height: int = 8
    steps: Sequence[tuple[float | None, str]] = ((None, "green"),)
    """Colours from a value on."""
    mappings: Mapping[str, tuple[str, str]] | None = None
    """What values are called, and their colours."""
    instant: bool = False


def number(title: str, query: str, says: str = "", *, unit: str = "short", bad_from: float | None = None) -> Panel:
    """One number; red from a value on."""
    steps: list[tuple[float | None, str]] = [(None, "green")]
    if bad_from is not None:
        steps.append((bad_from, "red"))
    return Panel("stat", title, [(query, "")], says, unit, 4, 4, steps, instant=True)


def lines(title: str, *queries: tuple[str, str], says: str = "", unit: str = "short", width: int = 8) -> Panel:
    """Values over time."""
    return Panel("timeseries", title, queries, says, unit, width)


def states(title: str, query: str, legend: str, says: str, names: Mapping[str, tuple[str, str]]) -> Panel:
    """When something was in which state."""
    return Panel("state-timeline", title, [(query, legend)], says, width=24, mappings=names)


def words(title: str, text: str) -> Panel:
    """Markdown."""
    return Panel("text", title, [], text, width=24, height=12)


class Row(NamedTuple):
    """Panels under a title; folded until somebody opens it."""

    title: str
    panels: Sequence[Panel]
    folded: bool = True


def laid_out(rows: Sequence[Row]) -> list[Json]:
    """The panels of all rows with their ids and places."""
    placed: list[Json] = []
    top, next_id = 0, 1
    for row in rows:
        header: Json = {
            "id": next_id,
            "type": "row",
            "title": row.title,
            "collapsed": row.folded,
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": top},
            "panels": [],
        }
        next_id, top = next_id + 1, top + 1
        left = lowest = 0
        inside: list[Json] = []
        for panel in row.panels:
            if left + panel.width > WIDTH:
                left, top = 0, lowest
            inside.append(_panel(panel, next_id, left, top))
            next_id, left, lowest = next_id + 1, left + panel.width, max(lowest, top + panel.height)
        top = lowest
        placed.append(header)
        if row.folded:
            header["panels"] = inside
        else:
            placed += inside
    return placed


def every_panel(dashboard: Json) -> Iterator[Json]:
    """Every panel of a dashboard, those of folded rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def _panel(panel: Panel, number: int, left: int, top: int) -> Json:
    made: Json = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "gridPos": {"h": panel.height, "w": panel.width, "x": left, "y": top},
    }
    if panel.kind == "text":
        return made | {"options": {"mode": "markdown", "content": panel.says}}
    defaults: Json = {
        "unit": panel.unit,
        "thresholds": {
            "mode": "absolute",
            "steps": [{"value": value, "color": color} for value, color in panel.steps],
        },
        "mappings": [],
    }
    if panel.kind == "timeseries":
        defaults |= {"min": 0, "custom": {"fillOpacity": 10, "showPoints": "never", "spanNulls": False}}
    if panel.mappings is not None:
        options = {
            value: {"text": text, "color": color, "index": at}
            for at, (value, (text, color)) in enumerate(panel.mappings.items())
        }
        defaults["mappings"] = [{"type": "value", "options": options}]
    return made | {
        "description": panel.says,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": DATASOURCE,
                "expr": query,
                "legendFormat": legend,
                "instant": panel.instant,
                "range": not panel.instant,
            }
            for at, (query, legend) in enumerate(panel.queries)
        ],
    }


_OPTIONS: dict[str, Json] = {
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "textMode": "auto",
    },
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "state-timeline": {"showValue": "never", "mergeValues": True, "rowHeight": 0.8},
}
