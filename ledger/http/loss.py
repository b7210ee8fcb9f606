"""The route that tells which share of transitions webhooks lost, what is left of the budget, and how fast it burns."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from ledger.domain import loss as rules
from ledger.domain.instants import to_text
from ledger.domain.look import tier_bound_seconds
from ledger.domain.observation import Instant
from ledger.http import responses
from ledger.http.answers import as_json, as_of_body
from ledger.http.auth import require
from ledger.http.loss_answers import (
    Apart,
    BurnRate,
    DetectionFloor,
    HourLoss,
    IntervalBody,
    LossBody,
    LossBudget,
    LostBy,
    NodeLoss,
    SourceLoss,
)
from ledger.http.responses import answered
from ledger.http.spans import LongSpan
from ledger.http.state import get_services
from ledger.settings import Settings
from ledger.store.ledger import Ledger
from projections.queries import loss
from projections.queries.loss import LossCell, LossCount

router = APIRouter(tags=["reconciliation"], dependencies=[Depends(require("audit"))], responses=responses.PROBLEMS)

_BUDGET_SECONDS = rules.BUDGET_DAYS * 86_400
_WINDOWS = {_BUDGET_SECONDS, *(seconds for each in rules.BURN_WINDOWS for seconds in each[1:])}

Windows = Mapping[float, LossCount]


@router.get(
    "/v1/loss",
    summary="Webhook loss",
    responses=answered(LossBody) | responses.refused(responses.BACKWARDS, responses.TOO_LONG, responses.SOURCE),
)
def webhook_loss(request: Request, query: Annotated[LongSpan, Query()]) -> Response:
    """The share of transitions that no webhook told, by source, by node and by hour; with its interval, its budget, and
    how fast that burns. A transition is a user's change from offline to online or back.

    An hour is that in which a transition was learnt, which may be minutes after a lost one took place. What a proven
    cause explains, or a time in which nobody could know, is told `apart` and is in neither side of the share.
    """
    services = get_services(request)
    now = services.clock.now()
    since, until = query.bounds(now)
    if until < now:
        windows = _windows(services.ledger, until, query.source)
    else:
        # Asked for again and again.
        windows = services.loss_windows.of(query.source, lambda: _windows(services.ledger, now, query.source))
    with services.ledger.connection() as connection:
        cells = loss.by_node_and_hour(connection, since, until, query.source)
        position = loss.position(connection)
    names = {each.source for each in cells} | windows.keys() | {each.name for each in services.settings.sources}
    if query.source is not None:
        names &= {query.source}
    items = [
        _of_source(name, [each for each in cells if each.source == name], windows.get(name, {}), services.settings)
        for name in sorted(names)
    ]
    return as_json(
        LossBody(from_=to_text(since), to=to_text(until), items=items, as_of=as_of_body(now, position)),
    )


def _windows(ledger: Ledger, until: Instant, source: str | None) -> Mapping[str, Windows]:
    with ledger.connection() as connection:
        return loss.in_windows(connection, until, _WINDOWS, None if source is None else [source])


def _of_source(name: str, cells: Sequence[LossCell], windows: Windows, settings: Settings) -> SourceLoss:
    total = _sum(each.counts for each in cells)
    nodes = sorted({each.node for each in cells})
    budget_share = settings.alerts.of("webhook_loss_budget", "share")
    look_seconds = tier_bound_seconds("normal", settings.policy)
    return SourceLoss(
        source=name,
        **_counts(total),
        detection_floor=_floor(name, total, settings),
        budget=_budget(windows.get(_BUDGET_SECONDS, _NONE), budget_share),
        burn_rates=[_burn(each, windows, budget_share, look_seconds) for each in rules.BURN_WINDOWS],
        nodes=[
            NodeLoss(node=node, **_counts(_sum(each.counts for each in cells if each.node == node))) for node in nodes
        ],
        hours=[
            HourLoss(hour=to_text(each.hour), node=each.node, **_counts(each.counts))
            for each in sorted(cells, key=lambda cell: (cell.hour, cell.node))
        ],
    )


_NONE = LossCount(Counter())


def _sum(counts: Iterable[LossCount]) -> LossCount:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each.by)
    return LossCount(total)


def _counts(count: LossCount) -> dict[str, Any]:
    lower, upper = count.interval
    return {
        "transitions": count.transitions,
        "told": count.told,
        "lost": count.lost,
        "share": count.share,
        "interval": IntervalBody(lower, upper, rules.CONFIDENCE),
        "lost_by": LostBy(**{name: count.by[name] for name in LostBy.__struct_fields__}),
        "apart": Apart(**{name: count.by[name] for name in Apart.__struct_fields__}),
    }


def _floor(name: str, total: LossCount, settings: Settings) -> DetectionFloor:
    nodes = [node for source in settings.sources if source.name == name for node in source.nodes]
    return DetectionFloor(
        looked_at=any(node.api_url for node in nodes),
        vip_seconds=tier_bound_seconds("vip", settings.policy),
        normal_seconds=tier_bound_seconds("normal", settings.policy),
        cold_seconds=tier_bound_seconds("cold", settings.policy),
        unseen_at_most=rules.unseen_at_most(total.lost, total.transitions),
    )


def _budget(count: LossCount, budget_share: float) -> LossBudget:
    left = rules.budget_left(count.lost, count.transitions, budget_share)
    return LossBudget(1.0 - budget_share, rules.BUDGET_DAYS, count.transitions, count.lost, left)


def _burn(each: rules.BurnWindows, windows: Windows, budget_share: float, look_seconds: float) -> BurnRate:
    long, short = (
        _rate(windows.get(seconds, _NONE), budget_share) for seconds in (each.long_seconds, each.short_seconds)
    )
    return BurnRate(*each, long, short, rules.burns(each, long, short), rules.fits(each, look_seconds))


def _rate(count: LossCount, budget_share: float) -> float | None:
    return rules.burn_rate(count.lost, count.transitions, budget_share)
