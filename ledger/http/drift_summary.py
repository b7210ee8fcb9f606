"""The route that counts drifts: what keeps going wrong, where, since when, and for how long."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from ledger.domain.instants import to_text
from ledger.domain.reconciliation_events import Attribution, DriftKind, Outcome
from ledger.http import schemas
from ledger.http.auth import require
from ledger.http.instants import At
from ledger.http.paging import Page, bad_cursor, from_cursor, to_cursor
from ledger.http.problems import invalid
from ledger.http.state import get_services
from ledger.store.ledger import translated
from projections.models.current import can_be_stored
from projections.queries import drift_summary
from projections.queries.drift_summary import DEFAULT_SPAN, By

router = APIRouter(tags=["reconciliation"], dependencies=[Depends(require("audit"))], responses=schemas.PROBLEMS)

_encode = msgspec.json.Encoder().encode


WITHOUT_FROM = (
    f"where it is missing, {DEFAULT_SPAN.total_seconds() / 3600:.0f} hours before `to`, or before now; "
    "what began before that and is not over yet is then counted, too"
)


class SummaryQuery(Page):
    """How drifts are grouped, and which: by the first look that disagreed, `from` included and `to` not."""

    by: list[By] = Field(["attributed_to"], min_length=1, max_length=6, description="several: by all of them together")
    from_: Annotated[At | None, Query(alias="from", description=WITHOUT_FROM)] = None
    to: At | None = None


class SecondsBody(BaseModel):
    """How long they lasted together: from the looks that disagreed, from the looks that agreed before; until now where
    they are open.
    """

    at_least: float
    at_most: float


class DriftGroup(BaseModel):
    """The drifts that have these in common; only what they are grouped by is there."""

    attributed_to: Attribution | None = None
    node: str | None = None
    source: str | None = None
    hour: str | None = None
    kind: DriftKind | None = None
    state: Outcome | None = None
    open: int
    """Held ones included."""
    closed: int
    seconds: SecondsBody
    never_agreed: int
    """Those that no look had agreed before, whose `at_most` is not known and counts as `at_least`."""


class DriftSummary(BaseModel):
    """Groups in the order of their keys; `from` is since when they are counted."""

    items: list[DriftGroup]
    next: str | None
    from_: Annotated[str, Field(alias="from")]
    as_of: schemas.AsOfBody


@router.get(
    "/v1/drift/summary",
    summary="Drifts counted",
    response_model=DriftSummary,
    responses=schemas.refused(schemas.CURSOR, schemas.BACKWARDS),
)
async def summary(request: Request, query: Annotated[SummaryQuery, Query()]) -> Response:
    """Open and closed drifts, and their seconds, by cause, node, source, hour, kind or state, or several of these.

    Of the last 24 hours and of those still open, unless `from` says since when.
    """
    if query.from_ is not None and query.to is not None and query.from_ > query.to:
        raise invalid("to", "before 'from'")
    services = get_services(request)
    by = list(dict.fromkeys(query.by))
    wanted = drift_summary.DriftSummaryQuery(by, query.from_, query.to, _keys(query.after, len(by)), query.limit)
    now = services.clock.now()
    with translated():
        async with services.pool.connection() as connection:
            page = await drift_summary.page(connection, wanted, now)
    following = to_cursor(_encode(page.last).decode()) if len(page.items) == query.limit else None
    as_of = {"at": to_text(now), "position": page.position}
    body = {"items": page.items, "next": following, "from": to_text(page.since), "as_of": as_of}
    return Response(_encode(body), media_type="application/json")


def _keys(cursor: str | None, number: int) -> list[str] | None:
    """The keys of the group that a page goes on after."""
    text = from_cursor(cursor)
    if text is None:
        return None
    try:
        keys = msgspec.json.decode(text, type=list[str])
    except msgspec.MsgspecError as error:
        raise bad_cursor() from error
    if len(keys) != number or not all(map(can_be_stored, keys)):
        raise bad_cursor()
    return keys
