"""The routes of alerts: what is wrong and what was, and that somebody knows."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from ledger.alerts.definitions import BY_NAME
from ledger.http import responses
from ledger.http.alert_answers import AlertBody, AlertPage, body
from ledger.http.answers import as_json
from ledger.http.auth import require
from ledger.http.paging import PageQuery, number_from_cursor, refuse_parameters
from ledger.http.problems import Problem
from ledger.http.responses import answered
from ledger.http.state import get_services
from ledger.ingest import alert_record
from ledger.working_state import alerts
from projections.models.current import can_be_stored

record = APIRouter(tags=["alerts"], dependencies=[Depends(require("audit"))], responses=responses.PROBLEMS)
orders = APIRouter(tags=["alerts"], dependencies=[Depends(require("admin"))], responses=responses.PROBLEMS)


class AlertFilter(PageQuery):
    """Which alerts."""

    state: Annotated[
        Literal["firing", "acknowledged", "resolved"] | None, Query(description="only those of this state")
    ] = None
    order: Annotated[Literal["asc", "desc"], Query(description="`desc`: the last one that began comes first")] = "asc"


@record.get(
    "/v1/alerts",
    summary="What is wrong, and what was",
    responses=answered(AlertPage) | responses.refused(responses.CURSOR),
)
def list_alerts(request: Request, query: Annotated[AlertFilter, Query()]) -> Response:
    """Alerts in the order in which they began, or the other way: what is wrong, since when, and what to do.

    There is one alert for one incident. Its beginning, its acknowledgement and its end are events, too.
    """
    after = number_from_cursor(query.after)
    with get_services(request).ledger.connection() as connection:
        rows = alerts.page(connection, query.state, after, query.limit, newest_first=query.order == "desc")
    following = str(rows[-1].position) if len(rows) == query.limit else None
    return as_json(AlertPage([body(row) for row in rows if row.name in BY_NAME], following))


@orders.post(
    "/v1/alerts/{alert}/acknowledge",
    summary="Say that somebody knows of an alert",
    responses=answered(AlertBody)
    | {404: responses.problem("No such alert"), 409: responses.problem("The alert is over")},
)
def acknowledge_alert(request: Request, alert: Annotated[str, Path(max_length=64)]) -> Response:
    """The API key's name is on record as who knows. An alert that is acknowledged already stays so."""
    refuse_parameters(request)
    services = get_services(request)
    by = request.state.key_name
    found = alert_record.acknowledge(services.ledger, alert, services.clock.now(), by) if can_be_stored(alert) else None
    if found is None or found.name not in BY_NAME:
        raise Problem(404, "no such alert")
    if found.acknowledged_at is None:
        raise Problem(409, "the alert is over: nobody needs to know of it")
    return as_json(body(found))
