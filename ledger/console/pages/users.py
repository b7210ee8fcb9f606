"""`/users`: who, by their uid or its beginning, by status, device and source; page by page."""

from asyncio import gather
from typing import Any

from ledger.console.addresses import with_query
from ledger.console.pages.source_names import source_names
from ledger.console.service import ServiceAnswer, api_path
from ledger.console.visit import Page, PageRequest
from ledger.http.paging import from_cursor, to_cursor
from ledger.http.problems import Problem

LIMIT = 50
STATUSES = ("online", "offline", "unknown")
FLAGS = (0, 1, 2, 99)
"""What v2 calls app, web, desktop and system; any other number may be asked for, too."""


async def users(visit: PageRequest) -> Page:
    """The list, or what a search found."""
    query = visit.query
    wanted = query.get("q", "")
    exact = query.get("match") == "exact"
    if exact and wanted:
        found, sources = await gather(visit.ask(api_path("users", wanted, "presence")), source_names(visit))
        items = [found.body] if _was_seen(found) else []
        return _page(visit, found, sources, items, None)
    filters = {
        "status": query.get("status") if query.get("status") in STATUSES else None,
        "device_flag": query.get("device_flag"),
        "source": query.get("source"),
    }
    after = query.get("after") or (to_cursor(wanted) if wanted else None)
    # Uids are listed in the order of their bytes: those with a beginning follow it, and it may be one itself.
    begins_with_itself = bool(wanted) and "after" not in query
    listed, sources, itself = await gather(
        visit.ask("/v1/presence", limit=LIMIT, after=after, **filters),
        source_names(visit),
        visit.ask(api_path("users", wanted, "presence")) if begins_with_itself else _nothing(),
    )
    items = [each for each in listed.items if each["uid"].startswith(wanted)]
    following = listed.get("next")
    if following is not None and not _begins_with(following, wanted):
        following = None
    if _was_seen(itself) and _fits(itself.body, **filters):
        items.insert(0, itself.body)
    return _page(visit, listed, sources, items, following)


def _page(
    visit: PageRequest, answer: ServiceAnswer, sources: list[str], items: list[Any], following: str | None
) -> Page:
    asked = {name: value for name, value in visit.query.items() if name not in ("after", "lang")}
    facts = {
        "answer": answer,
        "items": items,
        "next": following and with_query("/users", asked | {"after": following}),
        "first": with_query("/users", asked) if "after" in visit.query else None,
        "query": visit.query,
        "sources": sources,
        "statuses": STATUSES,
        "flags": FLAGS,
    }
    return Page("users.html", visit.words("users.title"), facts)


def _was_seen(answer: ServiceAnswer) -> bool:
    return answer.is_good and answer.get("reason") != "never_observed"


def _fits(presence: Any, status: str | None, device_flag: str | None, source: str | None) -> bool:
    """Whether the list would have a user under these filters."""
    if status not in (None, presence["status"]):
        return False
    if not device_flag and not source:
        return True
    return any(
        (not device_flag or str(device["device_flag"]) == device_flag)
        and (not source or device["source"] == source)
        # Of whoever is online, the list has those who are so there.
        and (status != "online" or device["sessions"])
        for device in presence["devices"]
    )


def _begins_with(cursor: str, wanted: str) -> bool:
    """Whether what follows a cursor may still begin so."""
    try:
        return (from_cursor(cursor) or "").startswith(wanted)
    except Problem:
        return False


async def _nothing() -> ServiceAnswer:
    return ServiceAnswer(404, None)
