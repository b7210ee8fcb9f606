"""`/runs`: what reconciliation looked at, what it found, and what that cost; `/runs/{id}`: one run."""

from asyncio import gather
from itertools import chain

from ledger.console.pages.ordered import done
from ledger.console.pages.place import position_at
from ledger.console.pages.source_names import source_names
from ledger.console.service import api_path
from ledger.console.visit import Moved, Page, Refused, Visit
from ledger.console.window import SPANS, window
from ledger.domain.instants import to_text

LIMIT = 500
DEFAULT_SPAN = "1h"


async def runs(visit: Visit) -> Page:
    """The runs of a window, the latest first; or one of them."""
    if len(visit.segments) > 1:
        return await _run(visit, visit.segments[1])
    shown = window({"span": DEFAULT_SPAN, **visit.query}, visit.now)
    place, sources = await gather(position_at(visit, to_text(shown.begin)), source_names(visit))
    pages = await gather(*(visit.ask(api_path("sources", name, "runs"), after=place, limit=LIMIT) for name in sources))
    end = to_text(shown.end)
    found = [each for each in chain.from_iterable(page.items for page in pages) if each["started_at"] <= end]
    facts = {
        "window": shown,
        "spans": SPANS,
        "sources": sources,
        "answers": pages,
        "items": sorted(found, key=lambda each: each["position"], reverse=True)[:LIMIT],
        "is_whole": all(page.get("next") is None for page in pages) or len(found) < LIMIT,
    }
    return Page("runs.html", visit.words("runs.title"), facts)


async def _run(visit: Visit, run: str) -> Page:
    answer = await visit.ask(api_path("runs", run))
    if answer.is_missing:
        raise Refused(404, "refused.nothing")
    return Page("run.html", visit.words("run.title", run=run), {"answer": answer, "run": answer.body})


async def order(visit: Visit) -> Page | Moved:
    """A run over everybody of a source."""
    answer = await visit.order("POST", api_path("sources", visit.form.get("source", ""), "reconcile"))
    return done(visit, answer, f"/runs/{answer.get('run')}")
