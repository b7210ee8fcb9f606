"""`/sinks`: how each sink fares, and to pause, resume and replay it."""

from typing import Any

from ledger.console.pages.ordered import done
from ledger.console.service import api_path
from ledger.console.visit import Page, PageRefused, PageRequest, Redirect

ORDERS = ("pause", "resume", "replay")


async def sinks(visit: PageRequest) -> Page:
    """The sinks of the settings."""
    facts = {"answer": await visit.ask("/v1/sinks"), "done": visit.query.get("done")}
    return Page("sinks.html", visit.words("sinks.title"), facts)


async def order(visit: PageRequest) -> Page | Redirect:
    """One of a sink's forms. Raises Refused."""
    wanted = visit.form.get("do", "")
    if wanted not in ORDERS:
        raise PageRefused(404, "refused.nothing")
    body = {"from": _place(visit.form.get("from", ""))} if wanted == "replay" else None
    answer = await visit.order("POST", api_path("sinks", visit.form.get("name", ""), wanted), body)
    return done(visit, answer, f"/sinks?done={wanted}")


def _place(text: str) -> Any:
    """A position where it is a number, else an instant, which the service judges."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text
