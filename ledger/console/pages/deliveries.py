"""`/deliveries/{id}`: one webhook delivery, what it brought, and what became of each item."""

from ledger.console.addresses import path, with_query
from ledger.console.service import api_path
from ledger.console.visit import Moved, Page, Refused, Visit

LIMIT = 100


async def delivery(visit: Visit) -> Page | Moved:
    """A delivery's page; without an id, a form that asks for one."""
    if len(visit.segments) < 2:
        wanted = visit.query.get("id", "").strip()
        return Moved(path("deliveries", wanted)) if wanted else Page("deliveries.html", visit.words("deliveries.title"))
    name = visit.segments[1]
    answer = await visit.ask(api_path("deliveries", name), limit=LIMIT, after=visit.query.get("after"))
    if answer.status in (404, 422):
        raise Refused(404, "refused.nothing")
    following = answer.get("next")
    facts = {
        "answer": answer,
        "delivery": answer.get("delivery"),
        "items": answer.items,
        "next": following and with_query(path("deliveries", name), {"after": following}),
        "first": path("deliveries", name) if "after" in visit.query else None,
    }
    return Page("delivery.html", visit.words("delivery.title"), facts)
