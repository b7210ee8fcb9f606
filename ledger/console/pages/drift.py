"""`/drift`: what users were shown wrongly, by cause, node and hour, with how long it took to find and to correct."""

from asyncio import gather
from collections.abc import Mapping
from typing import Any, NamedTuple

from ledger.console.addresses import with_query
from ledger.console.pages.place import position_at
from ledger.console.series import hourly
from ledger.console.service import ServiceAnswer
from ledger.console.visit import Page, PageRequest
from ledger.console.window import SPANS, window
from ledger.domain.instants import to_text
from ledger.http.paging import to_cursor

LIMIT = 50
GROUPED = ("attributed_to", "node", "kind", "source")


class CountedDrifts(NamedTuple):
    """Drifts counted: seconds are means; `to_detect` at most, since nobody knows when one began."""

    name: Any
    open: int
    closed: int
    to_detect: float | None
    to_correct: float | None
    never_agreed: int


def group(found: Mapping[str, Any], name: str) -> CountedDrifts:
    """What the API counted of a group."""
    number, agreed = found["open"] + found["closed"], found["open"] + found["closed"] - found["never_agreed"]
    seconds = found["seconds"]
    return CountedDrifts(
        found.get(name),
        found["open"],
        found["closed"],
        (seconds["at_most"] - seconds["at_least"]) / agreed if agreed else None,
        seconds["at_least"] / number if number else None,
        found["never_agreed"],
    )


async def drift(visit: PageRequest) -> Page:
    """Counts of the window, and the drifts themselves in the order they were found in."""
    shown = window(visit.query, visit.now)
    begin, end = to_text(shown.begin), None if shown.is_now else to_text(shown.end)
    place = await position_at(visit, begin)
    after = visit.query.get("after") or (None if place is None else to_cursor(f"{place}."))
    state = visit.query.get("state") or None
    filters = {name: visit.query.get(name) or None for name in ("kind", "source", "node", "attributed_to", "uid")}
    by_hour, items, unfinished, *grouped = await gather(
        visit.ask("/v1/drift/summary", by="hour", from_=begin, to=end, limit=1000),
        visit.ask("/v1/drift", limit=LIMIT, after=after, state=state, **filters),
        visit.ask("/v1/drift", limit=LIMIT, state="open"),
        *(visit.ask("/v1/drift/summary", by=name, from_=begin, to=end, limit=100) for name in GROUPED),
    )
    hours = [(str(each["hour"]), each["open"] + each["closed"]) for each in by_hour.items if each.get("hour")]
    kept = {name: value for name, value in visit.query.items() if name not in ("after", "lang")}
    facts = {
        "window": shown,
        "spans": SPANS,
        "by_hour": by_hour,
        "chart": hourly(shown.end, visit.words("overview.drifts"), hours, hours=max(2, SPANS[shown.span] // 3600)),
        "groups": {
            name: [group(each, name) for each in answer.items] for name, answer in zip(GROUPED, grouped, strict=True)
        },
        "items": items,
        "found": [each for each in items.items if each["disagreed_at"] <= shown.end_text],
        "unfinished": unfinished,
        "next": _next(items, shown.end_text, kept),
        "query": visit.query,
    }
    return Page("drift.html", visit.words("drift.title"), facts)


def _next(items: ServiceAnswer, end: str, kept: Mapping[str, str]) -> str | None:
    """The next page's address; None where it begins after the window's end."""
    following = items.get("next")
    if following is None or (items.items and items.items[-1]["disagreed_at"] > end):
        return None
    return with_query("/drift", {**kept, "after": following})
