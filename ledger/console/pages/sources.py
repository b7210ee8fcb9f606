"""`/sources`: each source and its nodes, whether they can be believed, and the times in which nobody could know."""

from asyncio import gather

from ledger.console.visit import Page, Visit


async def sources(visit: Visit) -> Page:
    """All sources of the settings."""
    answer, blind = await gather(visit.ask("/v1/sources"), visit.ask("/v1/blind"))
    return Page("sources.html", visit.words("sources.title"), {"answer": answer, "blind": blind})
