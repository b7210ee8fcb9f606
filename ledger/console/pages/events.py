"""`/events/{position}`: one event of the ledger, whole, with those before and after it."""

from asyncio import gather
from typing import Any

from ledger.console.service import ServiceAnswer, api_path
from ledger.console.visit import Page, PageRefused, PageRequest


async def event(visit: PageRequest) -> Page:
    """An event's page. Raises Refused where there is none."""
    text = visit.segments[1] if len(visit.segments) == 2 else visit.query.get("position", "")
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 19):
        raise PageRefused(404, "refused.nothing")
    position = int(text)
    page = await visit.ask("/v1/ledger/events", after=position - 1, limit=1)
    found = next((each for each in page.items if each["position"] == position), None)
    if found is None:
        raise PageRefused(404, "refused.nothing")
    before, after = (None, None) if "uid" not in found else await _beside(visit, found)
    facts = {"event": found, "before": before, "after": after, "delivery": found.get("delivery")}
    return Page("event.html", visit.words("event.title", position=f"{position:,}"), facts)


async def _beside(visit: PageRequest, found: Any) -> tuple[int | None, int | None]:
    """The positions of the user's events before and after."""
    path = api_path("users", found["uid"], "events")
    before, after = await gather(
        *(visit.ask(path, order=order, after=found["version"], limit=1) for order in ("desc", "asc"))
    )
    return _position(before), _position(after)


def _position(answer: ServiceAnswer) -> int | None:
    return answer.items[0]["position"] if answer.items else None
