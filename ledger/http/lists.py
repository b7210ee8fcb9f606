"""The routes of watch lists: made, changed, deleted, asked about and counted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.errors import StoreUnavailable
from ledger.http import grant_check, list_bodies, responses
from ledger.http.answers import PresencePage, SummaryBody, as_json, encode
from ledger.http.auth import require
from ledger.http.list_answers import ListBody, ListEntry, ListPage, entry
from ledger.http.list_bodies import ListOrder, PatchOrder, check_name, check_uids
from ledger.http.paging import MAX_LIMIT, Limit, PageQuery, bad_cursor, from_cursor, refuse_parameters, to_cursor
from ledger.http.presence import summary_body
from ledger.http.problems import Problem, invalid
from ledger.http.questions import REFUSED
from ledger.http.representation import items
from ledger.http.responses import answered
from ledger.http.state import Services, get_services
from ledger.http.uid import ListName
from ledger.working_state import watch_list_changes, watch_lists
from ledger.working_state.watch_list_changes import LOCK_SECONDS, MAX_MEMBERS, MAX_WATCHERS, ListTooLarge, Patch
from ledger.working_state.watch_lists import WatchList
from projections.models.current import can_be_stored

router = APIRouter(tags=["lists"], responses=responses.PROBLEMS)
presences = APIRouter(
    tags=["lists"],
    dependencies=[Depends(require("watch", "audit", tokens=True))],
    responses=responses.PROBLEMS | {404: responses.problem("No such list")},
)
"""What a stream's token may ask, too, of its own list."""

MAY_READ = [Depends(require("watch", "audit"))]
MAY_CHANGE = [Depends(require("watch"))]

T = TypeVar("T")

UIDS = (responses.UID, "the name has not 1 to 256 characters", "more users or watchers than a list may have")


class UserPage(PageQuery):
    """Which users of a list."""

    limit: Limit = MAX_LIMIT


class NoSuchList(Problem):
    """404: there is no list of that name."""

    def __init__(self) -> None:
        super().__init__(404, "no such list")


@router.get(
    "/v1/lists",
    summary="The watch lists",
    dependencies=MAY_READ,
    responses=answered(ListPage) | responses.refused(responses.CURSOR),
)
async def list_lists(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    """Every list in the order of their names, and how many are on each."""
    after = _after(query.after)
    found = await _reading(request, lambda connection: watch_lists.page(connection, after, query.limit))
    following = to_cursor(found[-1].name) if len(found) == query.limit else None
    return as_json(ListPage([entry(each) for each in found], following))


@presences.get(
    "/v1/lists/{name:list}/presence",
    summary="Which users of a list are online?",
    responses=answered(PresencePage) | responses.refused(responses.CURSOR),
)
async def list_presences_of_list(request: Request, name: ListName, query: Annotated[PageQuery, Query()]) -> Response:
    """The presences of those on a list in the order of their uids; who was never observed is among them."""
    check_name("name", name)
    grant_check.allow_list(request, name)
    after = _after(query.after)

    def members(connection: Connection[TupleRow]) -> list[str]:
        _existing(connection, name)
        return watch_lists.members_of(connection, name, after, query.limit)

    uids = await _reading(request, members)
    read = await get_services(request).reader.many(uids)
    following = to_cursor(uids[-1]) if len(uids) == query.limit else None
    return Response(items(read, b',"next":' + encode(following) + b"}"), media_type="application/json")


@presences.get(
    "/v1/lists/{name:list}/summary", summary="Count the presences of a list", responses=answered(SummaryBody)
)
async def get_summary_of_list(request: Request, name: ListName) -> Response:
    """How many users of a list are in each status, and their devices online by device flag, source and node."""
    refuse_parameters(request)
    check_name("name", name)
    grant_check.allow_list(request, name)
    found = await _reading(request, lambda connection: _existing(connection, name))
    return as_json(summary_body(await get_services(request).reader.summary(found.name)))


@router.get(
    "/v1/lists/{name:list}",
    summary="One watch list",
    dependencies=MAY_READ,
    responses=answered(ListBody) | {404: responses.problem("No such list")} | responses.refused(responses.CURSOR),
)
async def get_list(request: Request, name: ListName, query: Annotated[UserPage, Query()]) -> Response:
    """A list, with a page of its users and all who are told when one of them changes; most lists are one page."""
    check_name("name", name)
    after = _after(query.after)

    def read(connection: Connection[TupleRow]) -> ListBody:
        with connection.transaction():
            found = entry(_existing(connection, name))
            uids = watch_lists.members_of(connection, name, after, query.limit)
            watchers = watch_lists.watchers_after(connection, name, "", MAX_WATCHERS)
        following = to_cursor(uids[-1]) if len(uids) == query.limit else None
        fields = (found.name, found.counts, found.created_at, found.changed_at, found.changed_by)
        return ListBody(*fields, uids, watchers, following)

    return as_json(await _reading(request, read))


@router.put(
    "/v1/lists/{name:list}",
    summary="Make or replace a watch list",
    dependencies=MAY_CHANGE,
    responses=answered(ListEntry)
    | {201: answered(ListEntry)[200] | {"description": "The list is new"}}
    | REFUSED
    | responses.refused(*UIDS, "the body is not of that form"),
    openapi_extra=list_bodies.described(ListOrder, {"uids": ["u100", "bob"], "watchers": ["carol"]}),
)
async def put_list(request: Request, name: ListName) -> Response:
    """These users and watchers, whoever was on it before."""
    refuse_parameters(request)
    check_name("name", name)
    order = await list_bodies.take(ListOrder, request)
    check_uids("uids", order.uids, MAX_MEMBERS)
    check_uids("watchers", order.watchers, MAX_WATCHERS)
    by = request.state.key_name
    made, is_new = await _changing(
        request, lambda connection: watch_list_changes.put(connection, name, order.uids, order.watchers, by)
    )
    return as_json(entry(made), 201 if is_new else 200)


@router.patch(
    "/v1/lists/{name:list}",
    summary="Change a watch list",
    dependencies=MAY_CHANGE,
    responses=answered(ListEntry)
    | {404: responses.problem("No such list")}
    | REFUSED
    | responses.refused(*UIDS, "somebody is to be added and removed at once", "the body is not of that form"),
    openapi_extra=list_bodies.described(PatchOrder, {"add": ["dave"], "remove": ["bob"]}),
)
async def patch_list(request: Request, name: ListName) -> Response:
    """Some users more and some less, all at once; who is there already, or is not, stays so."""
    refuse_parameters(request)
    check_name("name", name)
    order = await list_bodies.take(PatchOrder, request)
    for field, other, most in (("add", "remove", MAX_MEMBERS), ("add_watchers", "remove_watchers", MAX_WATCHERS)):
        check_uids(field, getattr(order, field), most)
        check_uids(other, getattr(order, other), most)
        if not set(getattr(order, field)).isdisjoint(getattr(order, other)):
            raise invalid(other, f"names somebody whom {field} names, too")
    asked = Patch(order.add, order.remove, order.add_watchers, order.remove_watchers)
    by = request.state.key_name
    try:
        patched = await _changing(request, lambda connection: watch_list_changes.patch(connection, name, asked, by))
    except ListTooLarge as error:
        raise invalid("add" if error.of == "members" else "add_watchers", str(error)) from error
    if patched is None:
        raise NoSuchList
    return as_json(entry(patched))


@router.delete(
    "/v1/lists/{name:list}",
    summary="Delete a watch list",
    dependencies=MAY_CHANGE,
    status_code=204,
    responses={204: {"description": "There is no such list any more"}, 404: responses.problem("No such list")},
)
async def delete_list(request: Request, name: ListName) -> Response:
    """The list and its streams end; what it was stays on record."""
    refuse_parameters(request)
    check_name("name", name)
    by = request.state.key_name
    if not await _changing(request, lambda connection: watch_list_changes.delete(connection, name, by)):
        raise NoSuchList
    return Response(status_code=204)


def _existing(connection: Connection[TupleRow], name: str) -> WatchList:
    found = watch_lists.get(connection, name)
    if found is None:
        raise NoSuchList
    return found


def _after(cursor: str | None) -> str:
    after = from_cursor(cursor)
    if after is not None and not can_be_stored(after):
        raise bad_cursor()
    return after or ""


async def _reading(request: Request, read: Callable[[Connection[TupleRow]], T]) -> T:
    services = get_services(request)

    def run() -> T:
        with services.past, services.ledger.connection() as connection:
            return read(connection)

    return await run_in_threadpool(run)


async def _changing(request: Request, change: Callable[[Connection[TupleRow]], T]) -> T:
    """One at a time, as the database has it: those who wait hold no connection, which webhooks need, too."""
    services = get_services(request)

    def run() -> T:
        with services.ledger.connection() as connection:
            return change(connection)

    async with _turn(services):
        return await run_in_threadpool(run)


@asynccontextmanager
async def _turn(services: Services) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(LOCK_SECONDS):
            await services.list_changes.acquire()
    except TimeoutError as error:
        raise StoreUnavailable("other changes of lists take long; nothing was changed, try again") from error
    try:
        yield
    finally:
        services.list_changes.release()
