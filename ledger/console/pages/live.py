"""`/live`: changes as they happen, by the front's own stream."""

from asyncio import gather

import msgspec

from ledger.console.pages.source_names import source_names
from ledger.console.pages.users import STATUSES
from ledger.console.visit import Page, PageRequest

FEED = ("live", "feed")
"""The path of the stream for a page: the front's own, for whoever is logged in."""


async def live(visit: PageRequest) -> Page:
    """The feed; a script of ours fills it."""
    sources, health = await gather(source_names(visit), visit.ask("/v1/sources"))
    facts = {
        "sources": sources,
        # The stream tells of what goes dark from here on.
        "dark": [each for each in health.items if each["dark_since"]],
        "statuses": STATUSES,
        "query": visit.query,
        "causes": _named(visit, "cause."),
        "reasons": _named(visit, "reason."),
        "devices": _named(visit, "device."),
    }
    return Page("live.html", visit.words("live.title"), facts)


def _named(visit: PageRequest, group: str) -> str:
    """The names of a group's codes, for the script."""
    sentences = visit.words.sentences.items()
    return msgspec.json.encode(
        {key.removeprefix(group): text for key, text in sentences if key.startswith(group)}
    ).decode()
