"""`/settings`: the settings in force and where each came from, secrets masked."""

from ledger.console.visit import Page, PageRequest


async def settings(visit: PageRequest) -> Page:
    """Of the instance beside this front."""
    return Page("settings.html", visit.words("settings.title"), {"answer": await visit.ask("/v1/settings")})
