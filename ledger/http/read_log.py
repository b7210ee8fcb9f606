"""The route of the log of who asked about whom."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from ledger.domain.instants import from_datetime, to_text
from ledger.http import responses
from ledger.http.answers import as_json
from ledger.http.auth import require
from ledger.http.instants import At
from ledger.http.paging import PageQuery, bad_cursor, from_cursor, to_cursor
from ledger.http.problems import invalid
from ledger.http.record_answers import ReadBody, ReadPage
from ledger.http.responses import answered
from ledger.http.state import get_services
from ledger.http.uid import Uid
from ledger.working_state import reads
from ledger.working_state.reads import LookUp, Place
from projections.models.current import can_be_stored

router = APIRouter(tags=["audit"], dependencies=[Depends(require("audit"))], responses=responses.PROBLEMS)

_SEPARATOR = "\n"
"""Neither a key's name nor a route has one."""


class ReadFilter(PageQuery):
    """Which of them."""

    from_: Annotated[At | None, Query(alias="from")] = None
    to: At | None = None


@router.get(
    "/v1/users/{uid:uid}/reads",
    summary="Who asked about a user",
    responses=answered(ReadPage) | responses.refused(responses.CURSOR, responses.BACKWARDS),
)
def list_reads(request: Request, uid: Uid, query: Annotated[ReadFilter, Query()]) -> Response:
    """By which API key, over which route, how often and when, as far as `[audit] reads` has it noted.

    What one key asked over one route within about a second is one entry. It is kept for `[audit] reads_days`, and goes
    with the user when they are erased.
    """
    if query.from_ is not None and query.to is not None and query.from_ > query.to:
        raise invalid("to", "before 'from'")
    after = _place(query.after)
    if not can_be_stored(uid):
        return as_json(ReadPage([], None))
    since = 0 if query.from_ is None else from_datetime(query.from_)
    until = reads.LATEST if query.to is None else from_datetime(query.to)
    with get_services(request).ledger.connection() as connection:
        found = reads.page(connection, uid, after, since, until, query.limit)
    following = _cursor(found[-1][0]) if len(found) == query.limit else None
    return as_json(ReadPage([_body(read) for _, read in found], following))


def _body(read: LookUp) -> ReadBody:
    return ReadBody(read.key_name, read.route, to_text(read.first_at), to_text(read.last_at), read.number)


def _cursor(place: Place) -> str:
    return to_cursor(_SEPARATOR.join(map(str, place)))


def _place(cursor: str | None) -> Place:
    text = from_cursor(cursor)
    if text is None:
        return reads.FIRST
    first_at, *rest = text.split(_SEPARATOR)
    if len(rest) != 3 or not (first_at.isascii() and first_at.isdigit() and len(first_at) <= 18) or "\0" in text:
        raise bad_cursor()
    return int(first_at), rest[0], rest[1], rest[2]
