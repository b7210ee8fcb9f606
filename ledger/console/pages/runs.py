"""`/runs`: what reconciliation looked at, what it found, and what that cost; `/runs/{id}`: one run."""

from asyncio import gather
from typing import Any, NamedTuple

from ledger.console.pages.ordered import done
from ledger.console.pages.place import position_at
from ledger.console.pages.source_names import source_names
from ledger.console.service import ServiceAnswer, api_path
from ledger.console.visit import Page, PageRefused, PageRequest, Redirect
from ledger.console.window import SPANS, Window, micros, window
from ledger.domain.instants import to_text
from ledger.domain.observation import SECOND, Instant

LIMIT = 500
LONGEST_SECONDS = SPANS["6h"]
"""Of a longer window the end is shown: a source begins a run every few seconds."""
DEFAULT_SPAN = "1h"


class _Latest(NamedTuple):
    """The runs of a source from an instant on, up to the window's end."""

    answer: ServiceAnswer
    since: Instant


async def runs(visit: PageRequest) -> Page:
    """The runs of a window, the latest first; or one of them."""
    if len(visit.segments) > 1:
        return await _run(visit, visit.segments[1])
    shown = window({"span": DEFAULT_SPAN, **visit.query}, visit.now)
    sources = await source_names(visit)
    latest = await gather(*(_latest(visit, name, shown) for name in sources))
    found = [each for part in latest for each in part.answer.items if each["started_at"] <= shown.end_text]
    items = sorted(found, key=lambda each: each["position"], reverse=True)[:LIMIT]
    since = max([shown.begin, *(part.since for part in latest)])
    if len(items) < len(found):
        since = max(since, micros(items[-1]["started_at"]))
    facts = {
        "window": shown,
        "spans": SPANS,
        "sources": sources,
        "answers": [part.answer for part in latest],
        "items": [each for each in items if micros(each["started_at"]) >= since],
        "since": None if since == shown.begin else to_text(since),
    }
    return Page("runs.html", visit.words("runs.title"), facts)


async def _latest(visit: PageRequest, source: str, shown: Window) -> _Latest:
    """The API goes forward from a place: that is put nearer to the window's end until one page reaches it."""
    reach = min(shown.end - shown.begin, LONGEST_SECONDS * SECOND)
    while True:
        since = shown.end - reach
        place = await position_at(visit, to_text(since))
        answer = await visit.ask(api_path("sources", source, "runs"), after=place, limit=LIMIT)
        if place is None or reach <= SECOND or _reaches(answer, shown.end_text):
            return _Latest(answer, since)
        reach //= 2


def _reaches(answer: ServiceAnswer, end: str) -> bool:
    last: dict[str, Any] | None = answer.items[-1] if answer.items else None
    return answer.get("next") is None or last is None or last["started_at"] > end


async def _run(visit: PageRequest, run: str) -> Page:
    answer = await visit.ask(api_path("runs", run))
    if answer.is_missing:
        raise PageRefused(404, "refused.nothing")
    return Page("run.html", visit.words("run.title", run=run), {"answer": answer, "run": answer.body})


async def order(visit: PageRequest) -> Page | Redirect:
    """A run over everybody of a source."""
    answer = await visit.order("POST", api_path("sources", visit.form.get("source", ""), "reconcile"))
    return done(visit, answer, f"/runs/{answer.get('run')}")
