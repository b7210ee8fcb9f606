"""`/`: are we right? Users by status, drift and loss of the last day, alerts, nodes, and what is behind."""

from asyncio import gather
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ledger.console.series import Chart, hourly
from ledger.console.service import ServiceAnswer
from ledger.console.visit import Page, PageRequest
from ledger.domain.instants import to_text
from ledger.domain.observation import SECOND

DAY = 86_400 * SECOND
COUNTS_SECONDS = 60
"""Users are counted anew meanwhile, unless that takes no time: a page of many millions does not wait for it."""
CURRENT = ("firing", "acknowledged")


async def overview(visit: PageRequest) -> Page:
    """The first page."""
    since = to_text(visit.now - DAY)
    summary, drift, loss, sources, ready, sinks, *alerts = await gather(
        visit.ask_within(COUNTS_SECONDS, "/v1/presence/summary"),
        visit.ask("/v1/drift/summary", by="hour", from_=since, limit=1000),
        visit.ask("/v1/loss", from_=since),
        visit.ask("/v1/sources"),
        visit.ask("/health/ready"),
        visit.ask("/v1/sinks"),
        *(visit.ask("/v1/alerts", state=state, limit=50) for state in CURRENT),
    )
    facts = {
        "summary": summary,
        "drift": drift,
        "drift_chart": _drift_chart(visit, drift),
        "loss": loss,
        "loss_chart": _loss_chart(visit, loss),
        "sources": sources,
        "ready": ready,
        "behind": list(_behind(ready, sinks)),
        "alerts": alerts[0],
        "alert_items": [each for answer in alerts for each in answer.items],
    }
    return Page("overview.html", visit.words("overview.title"), facts)


def _drift_chart(visit: PageRequest, drift: ServiceAnswer) -> Chart:
    found = [(str(each["hour"]), each["open"] + each["closed"]) for each in drift.items if each.get("hour")]
    return hourly(visit.now, visit.words("overview.drifts"), found)


def _loss_chart(visit: PageRequest, loss: ServiceAnswer) -> Chart | None:
    """The share of transitions that webhooks lost, in percent, by hour."""
    if not loss.is_good:
        return None
    transitions: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for source in loss.items:
        for each in source["hours"]:
            transitions[each["hour"]] += each["transitions"]
            lost[each["hour"]] += each["lost"]
    found = [(hour, 100 * lost[hour] / number) for hour, number in transitions.items() if number]
    return hourly(visit.now, visit.words("overview.loss_percent"), found, missing=None)


def _behind(ready: ServiceAnswer, sinks: ServiceAnswer) -> Iterator[tuple[str, str, int, str]]:
    """What follows the ledger: its kind, its name, by how much it is behind, and its state."""
    projections: dict[str, Any] = ready.get("projections", {})
    for name, each in projections.items():
        yield "projection", name, each["lag"], each["state"]
    for each in sinks.items:
        yield "sink", each["name"], each["lag_events"], each["state"]
