"""The route that counts drifts: what keeps going wrong, where, since when, and for how long."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from ledger.domain.instants import to_text
from ledger.http import responses
from ledger.http.answers import as_json, as_of_body, encode
from ledger.http.auth import require
from ledger.http.instants import At
from ledger.http.paging import PageQuery, bad_cursor, from_cursor, to_cursor
from ledger.http.problems import invalid
from ledger.http.record_answers import DriftSummary
from ledger.http.responses import answered
from ledger.http.state import get_services
from ledger.store.ledger import translated
from projections.models.current import can_be_stored
from projections.queries import drift_summary
from projections.queries.drift_summary import DEFAULT_SPAN, By

router = APIRouter(tags=["reconciliation"], dependencies=[Depends(require("audit"))], responses=responses.PROBLEMS)

WITHOUT_FROM = (
    f"where it is missing, {DEFAULT_SPAN.total_seconds() / 3600:.0f} hours before `to`, or before now; "
    "what began before that and is not over yet is then counted, too"
)


class SummaryQuery(PageQuery):
    """How drifts are grouped, and which: by the first look that disagreed, `from` included and `to` not."""

    by: list[By] = Field(["attributed_to"], min_length=1, max_length=6, description="several: by all of them together")
    from_: Annotated[At | None, Query(alias="from", description=WITHOUT_FROM)] = None
    to: At | None = None


@router.get(
    "/v1/drift/summary",
    summary="Drifts counted",
    responses=answered(DriftSummary) | responses.refused(responses.CURSOR, responses.BACKWARDS),
)
async def get_drift_summary(request: Request, query: Annotated[SummaryQuery, Query()]) -> Response:
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
    following = to_cursor(encode(page.last).decode()) if len(page.items) == query.limit else None
    return as_json(DriftSummary(page.items, following, to_text(page.since), as_of_body(now, page.position)))


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
