"""What may be done to a user from their page: looked at now, put into a tier, overridden; each as the API does it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ledger.console.addresses import user as address_of
from ledger.console.pages.ordered import done
from ledger.console.pages.user import TIERS, uid_of
from ledger.console.service import api_path
from ledger.console.visit import Page, PageRefused, PageRequest, Redirect

OVERRIDES = ("online", "offline")
DURATIONS: Mapping[str, int] = {"15min": 900, "1h": 3_600, "8h": 28_800, "24h": 86_400}


async def order(visit: PageRequest) -> Page | Redirect:
    """One of the forms of a user's page. Raises Refused."""
    make = _ORDERS.get(visit.form.get("do", ""))
    if make is None:
        raise PageRefused(404, "refused.nothing")
    return await make(visit, uid_of(visit))


async def _look(visit: PageRequest, uid: str) -> Page | Redirect:
    source = visit.form.get("source", "")
    answer = await visit.order("POST", api_path("sources", source, "reconcile"), {"uids": [uid]})
    return done(visit, answer, address_of(uid, done="look", run=answer.get("run")))


async def _tier(visit: PageRequest, uid: str) -> Page | Redirect:
    tier = visit.form.get("tier")
    answer = await visit.order("PUT", api_path("users", uid, "tier"), {"tier": tier if tier in TIERS else None})
    return done(visit, answer, address_of(uid, done="tier"))


async def _override(visit: PageRequest, uid: str) -> Page | Redirect:
    form = visit.form
    body: dict[str, Any] = {
        "status": form.get("status"),
        "reason": form.get("reason", ""),
        "expires_seconds": DURATIONS.get(form.get("for", "")),
        "until_evidence": form.get("until_evidence") == "yes",
    }
    answer = await visit.order("PUT", api_path("users", uid, "override"), body)
    return done(visit, answer, address_of(uid, done="override"))


async def _end_override(visit: PageRequest, uid: str) -> Page | Redirect:
    answer = await visit.order("DELETE", api_path("users", uid, "override"))
    return done(visit, answer, address_of(uid, done="override_ended"))


_ORDERS: Mapping[str, Callable[[PageRequest, str], Awaitable[Page | Redirect]]] = {
    "look": _look,
    "tier": _tier,
    "override": _override,
    "end_override": _end_override,
}
