"""The console's pages, one module each: what it asks the API, and what its template is given."""

from collections.abc import Awaitable, Callable, Mapping

from ledger.console.pages import alerts, live, overview, runs, sinks, user_orders
from ledger.console.pages.deliveries import delivery
from ledger.console.pages.drift import drift
from ledger.console.pages.events import event
from ledger.console.pages.lists import lists
from ledger.console.pages.settings import settings
from ledger.console.pages.sources import sources
from ledger.console.pages.user import user
from ledger.console.pages.users import users
from ledger.console.visit import Page, PageRequest, Redirect

Handler = Callable[[PageRequest], Awaitable[Page | Redirect]]


async def _users(visit: PageRequest) -> Page:
    """The list, or one of them."""
    return await (users(visit) if len(visit.segments) < 2 else user(visit))


GET: Mapping[str, Handler] = {
    "": overview.overview,
    "users": _users,
    "events": event,
    "live": live.live,
    "drift": drift,
    "runs": runs.runs,
    "deliveries": delivery,
    "sources": sources,
    "alerts": alerts.alerts,
    "sinks": sinks.sinks,
    "lists": lists,
    "settings": settings,
}
"""Pages by the first segment of their path."""

POST: Mapping[str, Handler] = {
    "users": user_orders.order,
    "runs": runs.order,
    "alerts": alerts.order,
    "sinks": sinks.order,
}
"""Changes, by the page that has their form."""
