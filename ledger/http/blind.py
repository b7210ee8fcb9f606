"""The route that tells of the times in which nobody could know who came and went."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from ledger.domain.alert_events import SERVICE
from ledger.domain.blind import BlindKind, BlindTime
from ledger.domain.instants import optional, to_text
from ledger.domain.observation import SECOND, Instant
from ledger.http import responses
from ledger.http.answers import as_json, as_of_body
from ledger.http.auth import require
from ledger.http.loss_answers import BlindBody, BlindPage, BlindSeconds, BlindTotalBody
from ledger.http.paging import PageQuery, bad_cursor, from_cursor, to_cursor
from ledger.http.responses import answered
from ledger.http.spans import Span
from ledger.http.state import get_services
from projections.models.current import can_be_stored
from projections.queries import blind
from projections.queries.blind import BlindQuery, BlindTotal, Place

router = APIRouter(tags=["reconciliation"], dependencies=[Depends(require("audit"))], responses=responses.PROBLEMS)


class BlindFilter(PageQuery, Span):
    """Which times."""

    kind: BlindKind | None = None


@router.get(
    "/v1/blind",
    summary="Blind times",
    responses=answered(BlindPage) | responses.refused(responses.CURSOR, responses.BACKWARDS, responses.SOURCE),
)
def blind_times(request: Request, query: Annotated[BlindFilter, Query()]) -> Response:
    """The times in which nobody could know who came and went, with their cause, the oldest first, and their totals.

    A time without our service begins with the last thing recorded where it was killed, so it may be shorter than told.
    """
    services = get_services(request)
    now = services.clock.now()
    since, until = query.bounds(now)
    wanted = BlindQuery(since, until, query.source, query.kind)
    with services.ledger.connection() as connection:
        found = blind.page(connection, wanted, _place(query.after), query.limit)
        totals = blind.totals(connection, wanted._replace(until=min(until, now)))
        position = blind.position(connection)
    return as_json(
        BlindPage(
            from_=to_text(since),
            to=to_text(until),
            items=[_body(each, now) for each in found],
            next=_cursor(found[-1]) if len(found) == query.limit else None,
            totals=[_total(each) for each in totals],
            as_of=as_of_body(now, position),
        )
    )


def _body(time: BlindTime, now: Instant) -> BlindBody:
    until = now if time.until is None else time.until
    return BlindBody(
        source=_source(time.source),
        node=time.node or None,
        kind=blind.kind_of(time),
        since=to_text(time.since),
        until=optional(time.until),
        seconds=max(0, until - time.since) / SECOND,
        reason=time.reason,
        first_position=time.position,
        last_position=time.last_position,
    )


def _total(total: BlindTotal) -> BlindTotalBody:
    by_kind = {kind: total.by_kind.get(kind, 0.0) for kind in blind.KINDS}
    return BlindTotalBody(_source(total.source), total.seconds, BlindSeconds(**by_kind))


def _source(name: str) -> str | None:
    """Of what is everybody's, none."""
    return None if name == SERVICE else name


def _cursor(last: BlindTime) -> str:
    return to_cursor(f"{last.since}.{last.position}.{last.node}")


def _place(cursor: str | None) -> Place:
    """The time that a page goes on after."""
    key = from_cursor(cursor)
    if key is None:
        return blind.FIRST
    since, _, rest = key.partition(".")
    position, dot, node = rest.partition(".")
    if not dot or not all(each.isascii() and each.isdigit() and len(each) <= 18 for each in (since, position)):
        raise bad_cursor()
    if not can_be_stored(node):
        raise bad_cursor()
    return int(since), int(position), node
