"""`/alerts`: what is wrong, since when, who knows, and what to do."""

from asyncio import gather

from ledger.console.addresses import with_query
from ledger.console.pages.ordered import done
from ledger.console.service import api_path
from ledger.console.visit import Page, PageRequest, Redirect

STATES = ("firing", "acknowledged", "resolved")
LIMIT = 100


async def alerts(visit: PageRequest) -> Page:
    """Those that are on, and on demand those that are over, the last one first."""
    wanted = visit.query.get("state")
    states = (wanted,) if wanted in STATES else STATES[:2]
    after = visit.query.get("after") if len(states) == 1 else None
    found = await gather(
        *(visit.ask("/v1/alerts", state=state, limit=LIMIT, after=after, order="desc") for state in states)
    )
    following = found[0].get("next") if len(states) == 1 else None
    facts = {
        "answer": found[0],
        "items": [each for answer in found for each in answer.items],
        "states": STATES,
        "state": wanted if wanted in STATES else None,
        "next": following and with_query("/alerts", {"state": wanted, "after": following}),
        "done": visit.query.get("done"),
    }
    return Page("alerts.html", visit.words("alerts.title"), facts)


async def order(visit: PageRequest) -> Page | Redirect:
    """Acknowledge one."""
    answer = await visit.order("POST", api_path("alerts", visit.form.get("id", ""), "acknowledge"))
    return done(visit, answer, "/alerts?done=acknowledged")
