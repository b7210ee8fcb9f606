"""`/deliveries/{id}`: one webhook delivery, what it brought, and what became of each item."""

from typing import Any

import msgspec

from ledger.console.addresses import path, with_query
from ledger.console.service import ServiceAnswer, api_path
from ledger.console.visit import Page, PageRefused, PageRequest, Redirect

LIMIT = 100


async def delivery(visit: PageRequest) -> Page | Redirect:
    """A delivery's page; without an id, a form that asks for one."""
    if len(visit.segments) < 2:
        wanted = visit.query.get("id", "").strip()
        return (
            Redirect(path("deliveries", wanted)) if wanted else Page("deliveries.html", visit.words("deliveries.title"))
        )
    name = visit.segments[1]
    answer = await visit.ask(api_path("deliveries", name), limit=LIMIT, after=visit.query.get("after"))
    if answer.status in (404, 422):
        raise PageRefused(404, "refused.nothing")
    following = answer.get("next")
    facts = {
        "answer": answer,
        "delivery": answer.get("delivery"),
        "items": answer.items,
        "body": _body(answer) if following is None and "after" not in visit.query else None,
        "next": following and with_query(path("deliveries", name), {"after": following}),
        "first": path("deliveries", name) if "after" in visit.query else None,
    }
    return Page("delivery.html", visit.words("delivery.title"), facts)


def _body(answer: ServiceAnswer) -> str | None:
    """The array that was posted, put together of its items; None where not each of them is an event of its own."""
    delivery: dict[str, Any] = answer.get("delivery") or {}
    if not answer.items or delivery.get("following") or delivery.get("items") != len(answer.items):
        return None
    return "[" + ",\n ".join(_item(each) for each in answer.items) + "]"


def _item(event: dict[str, Any]) -> str:
    """What is rejected is kept as JSON, since it may be no text."""
    raw = event.get("raw") or ""
    return str(raw) if event["kind"] == "item_rejected" else msgspec.json.encode(raw).decode()
