"""The routes of the record: a user's events, the ledger by position, a delivery and what became of its items."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.crowd import encode_crowd
from ledger.domain.events import BodyRejected, DeliveryReceived
from ledger.http import archive_header, responses
from ledger.http.auth import require
from ledger.http.instants import At
from ledger.http.paging import PageQuery, number_from_cursor
from ledger.http.problems import Problem, invalid
from ledger.http.record_answers import DeliveryBody, EventPage
from ledger.http.responses import answered
from ledger.http.state import Services, get_services
from ledger.http.uid import Uid
from ledger.http.views import event_view
from ledger.store.archive.beside import Wanted
from ledger.store.ledger import Ledger, translated
from ledger.store.mapper import user_stream
from ledger.store.recorder import StoredRow
from projections.models.current import can_be_stored
from projections.queries import archived, history
from projections.queries.archived import Asked

NDJSON = "application/x-ndjson"
STREAMED_PAGE = 1000

router = APIRouter(tags=["audit"], dependencies=[Depends(require("audit"))], responses=responses.PROBLEMS)

_encode = msgspec.json.Encoder(enc_hook=encode_crowd).encode


class EventFilter(PageQuery):
    """Which of a user's events: by the instant they were recorded, `from` included and `to` not."""

    order: Literal["asc", "desc"] = "asc"
    from_: Annotated[At | None, Query(alias="from")] = None
    to: At | None = None

    def refuse_backwards(self) -> None:
        """Raises the problem of a `to` before `from`."""
        if self.from_ is not None and self.to is not None and self.from_ > self.to:
            raise invalid("to", "before 'from'")


@router.get(
    "/v1/users/{uid:uid}/events",
    summary="A user's events",
    responses=answered(EventPage, NDJSON) | responses.refused(responses.CURSOR, responses.BACKWARDS),
)
def list_user_events(request: Request, uid: Uid, query: Annotated[EventFilter, Query()]) -> Response:
    """One event for every item that names the user and for every correction, sweep and tier, each with its verdict.

    With `Accept: application/x-ndjson`, all of them as lines.
    """
    ledger = get_services(request).ledger
    after = number_from_cursor(query.after)
    query.refuse_backwards()
    rows = _UserRows(get_services(request), uid, query.order == "desc", query.from_, query.to)
    if NDJSON in request.headers.get("accept", ""):
        return StreamingResponse(rows.lines(after), media_type=NDJSON)
    found, before = rows.page(after, query.limit)
    following = str(found[-1].version) if len(found) == query.limit else None
    return _page(ledger, found, following, before)


class _UserRows:
    """A user's stream, in one direction and between two instants, the archive's part of it included."""

    def __init__(
        self, services: Services, uid: str, descending: bool, since: datetime | None, until: datetime | None
    ) -> None:
        self._archive = services.archive
        self._ledger = services.ledger
        self._uid = uid
        self._descending = descending
        self._since = since
        self._until = until

    def page(self, last: int | None, limit: int, place: int | None = None) -> Asked[list[StoredRow]]:
        """The rows after the version that the page before ended at; `place`: its position, where it is known."""
        if not can_be_stored(self._uid):
            return Asked([], None)

        def rows(connection: Connection[TupleRow]) -> list[StoredRow]:
            return self._ledger.events_recorder.stream_rows(
                user_stream(self._uid),
                after=None if self._descending else last,
                before=last if self._descending else None,
                recorded_from=self._since,
                recorded_before=self._until,
                descending=self._descending,
                limit=limit,
                connection=connection,
            )

        def needs(connection: Connection[TupleRow], before: int) -> Wanted | None:
            since = 0 if self._since is None else history.position_before(connection, self._since)
            if since >= before - 1 or (self._descending and len(rows(connection)) == limit):
                return None
            after = None if self._descending else last
            wanted = archived.of_user(connection, self._uid, (after or 0) + 1)
            if wanted is None or place is None:
                return wanted
            return wanted._replace(up_to=place) if self._descending else wanted._replace(whole_from=place)

        with translated():
            return self._archive.ask("current", needs, rows)

    def lines(self, last: int | None) -> Iterator[bytes]:
        """All of them, a JSON object a line, read page by page."""
        place = None
        while rows := self.page(last, STREAMED_PAGE, place).answer:
            yield b"".join(_encode(event_view(row, self._ledger.event(row))) + b"\n" for row in rows)
            last, place = rows[-1].version, rows[-1].position


@router.get(
    "/v1/ledger/events",
    summary="Every event by position",
    responses=answered(EventPage) | responses.refused(responses.CURSOR),
)
def list_events(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    """The whole ledger in the order of its commits: users' events and sources' events.

    `after` takes any position, so that a reader at the head can ask later for what was appended since.
    """
    ledger = get_services(request).ledger
    after = number_from_cursor(query.after) or 0
    rows, before = get_services(request).archive.rows_after(after, query.limit)
    following = str(rows[-1].position) if len(rows) == query.limit else None
    return _page(ledger, rows, following, before)


@router.get(
    "/v1/deliveries/{delivery}",
    summary="One webhook delivery",
    responses=answered(DeliveryBody)
    | {404: responses.problem("No such delivery")}
    | responses.refused(responses.CURSOR),
)
def get_delivery(
    request: Request, delivery: Annotated[str, Path(max_length=64)], query: Annotated[PageQuery, Query()]
) -> Response:
    """The delivery, and a page of the events of its items in their order."""
    services = get_services(request)
    ledger, archive = services.ledger, services.archive
    after = number_from_cursor(query.after)
    with translated():
        position = ledger.events_recorder.delivery_position(delivery) if can_be_stored(delivery) else None
        if position is None:
            raise Problem(404, "no such delivery")
        [row] = ledger.events_recorder.ledger_rows(after=position - 1, limit=1)
        received = ledger.event(row)
        assert isinstance(received, DeliveryReceived | BodyRejected)
        last = position + (received.items - received.following if isinstance(received, DeliveryReceived) else 0)
        start = min(max(position, after or position), last)
        limit = min(query.limit, last - start)
        # Where events of it were erased, others' follow sooner.
        found, before = archive.rows_after(start, limit) if limit else Asked([], None)
        rows = [each for each in found if each.position <= last]
    items = [event_view(item, ledger.event(item)) for item in rows]
    more = len(rows) == limit > 0 and rows[-1].position < last
    body = DeliveryBody(event_view(row, received), items, str(rows[-1].position) if more else None)
    return Response(_encode(body), headers=archive_header.archived(before), media_type="application/json")


def _page(ledger: Ledger, rows: list[StoredRow], following: str | None, before: int | None) -> Response:
    body = EventPage([event_view(row, ledger.event(row)) for row in rows], following)
    return Response(_encode(body), headers=archive_header.archived(before), media_type="application/json")
