"""`/lists`: the watch lists; with `name`, who is on one of them and how they are."""

from asyncio import gather

from ledger.console.addresses import with_query
from ledger.console.service import api_path
from ledger.console.visit import Page, PageRefused, PageRequest

LIMIT = 50


async def lists(visit: PageRequest) -> Page:
    """All lists, or one."""
    name, after = visit.query.get("name"), visit.query.get("after")
    if not name:
        answer = await visit.ask("/v1/lists", limit=LIMIT, after=after)
        facts = {"answer": answer, "next": _next(answer.get("next"), {})}
        return Page("lists.html", visit.words("lists.title"), facts)
    found, presences, summary = await gather(
        visit.ask(api_path("lists", name), limit=1),
        visit.ask(api_path("lists", name, "presence"), limit=LIMIT, after=after),
        visit.ask(api_path("lists", name, "summary")),
    )
    if found.is_missing:
        raise PageRefused(404, "refused.nothing")
    facts = {
        "answer": found,
        "list": found.body,
        "presences": presences,
        "summary": summary,
        "next": _next(presences.get("next"), {"name": name}),
    }
    return Page("list.html", name, facts)


def _next(following: str | None, kept: dict[str, str]) -> str | None:
    return None if following is None else with_query("/lists", {**kept, "after": following})
