"""`/sources`: each source and its nodes, whether they can be believed, and the times in which nobody could know."""

from asyncio import gather

from ledger.console.visit import Page, PageRequest
from ledger.domain.instants import to_text
from ledger.domain.observation import SECOND

BLIND_SECONDS = 7 * 86_400
LIMIT = 200


async def sources(visit: PageRequest) -> Page:
    """All sources of the settings."""
    since = to_text(visit.now - BLIND_SECONDS * SECOND)
    answer, blind = await gather(visit.ask("/v1/sources"), visit.ask("/v1/blind", from_=since, limit=LIMIT))
    facts = {"answer": answer, "blind": blind, "blind_seconds": BLIND_SECONDS}
    return Page("sources.html", visit.words("sources.title"), facts)
