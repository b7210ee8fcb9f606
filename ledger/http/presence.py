"""The routes that say who is online: one user, thousands at once, lists and counts."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.http import archive_header, grant_check, questions, representation, responses
from ledger.http.answers import (
    FlagCount,
    NodeCount,
    PresenceBody,
    PresenceItems,
    PresencePage,
    PresenceParts,
    SummaryBody,
    UserCounts,
    as_json,
    as_of_body,
    encode,
)
from ledger.http.auth import note_read, require
from ledger.http.instants import When, resolve_point
from ledger.http.paging import PageQuery, bad_cursor, from_cursor, refuse_parameters, to_cursor
from ledger.http.problems import invalid
from ledger.http.responses import answered
from ledger.http.state import Services, get_services
from ledger.http.summaries import max_age
from ledger.http.uid import Storable, Uid
from ledger.store.archive.beside import Wanted
from projections.models.current import can_be_stored
from projections.models.shown import as_of
from projections.queries import archived, listing, past
from projections.queries.archived import Asked
from projections.queries.reader import Read

router = APIRouter(tags=["presence"], dependencies=[Depends(require("read"))], responses=responses.PROBLEMS)
of_users = APIRouter(
    tags=["presence"], dependencies=[Depends(require("read", tokens=True))], responses=responses.PROBLEMS
)
"""What a stream's token may ask, too, of its users."""


class PresenceFilter(PageQuery):
    """Which presences to list. With `device_flag` or `source`, the users who have such a device, in that status."""

    status: Literal["online", "offline", "unknown"] | None = None
    device_flag: Annotated[int | None, Query(ge=0, le=255)] = None
    source: Annotated[Storable | None, Query(max_length=64)] = None


@of_users.get(
    "/v1/users/{uid:uid}/presence",
    summary="Is this user online?",
    responses=answered(PresenceBody)
    | {304: {"description": "Unchanged since the `ETag` of `If-None-Match`"}}
    | responses.refused(responses.MOMENT),
)
async def get_presence(request: Request, uid: Uid, when: Annotated[When, Query()]) -> Response:
    """The user's presence; a user never observed is `unknown`, reason `never_observed`.

    With `at`, what it was at that instant, as is known now, or was known at `known_at` or `position`. The `at` and the
    `position` of an answer's `as_of` give the same answer for ever. While PostgreSQL is away the answer is of what this
    instance remembers, and `stale_since` says so, with `Age` in seconds; 503 where it does not remember the user.
    """
    services = get_services(request)
    await grant_check.allow(request, [uid], is_past=when.is_past)
    if when.is_past:
        read, before = await _past(services, [uid], when)
        headers = archive_header.archived(before)
    else:
        services.asked.note([uid])
        read = await services.answering.of([uid])
        headers = representation.age(read)
    made, [body] = read.made, read.bodies
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers |= {"ETag": etag}
    if representation.matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(body + as_of(made), headers=headers, media_type="application/json")


@of_users.post(
    "/v1/presence/query",
    summary="Which of these users are online?",
    responses=responses.answered_either(PresenceItems, PresenceParts)
    | {304: {"description": "Unchanged since the `ETag` of `If-None-Match`"}}
    | questions.REFUSED
    | responses.refused(responses.MOMENT, responses.FRACTION, responses.JSON, "an unknown field in `fields`"),
    openapi_extra=questions.described(questions.UidQuery) | {"parameters": [representation.PARAMETER]},
)
async def query_presences(request: Request) -> Response:
    """The presences of up to 10,000 users in the order asked, all of one snapshot; of the past as for a single user.

    `fields` makes it shorter: for a list that shows dots, `fields=status` is a quarter of it. Large answers are
    compressed where `Accept-Encoding` allows for gzip. `ETag` changes whenever the answer would, `as_of` aside. While
    PostgreSQL is away each has `stale_since`, and of users whom this instance does not remember nothing is said but
    `unknown`, reason `store_unavailable`; 503 where it remembers none of them.
    """
    wanted = representation.asked(request)
    services = get_services(request)
    query = await questions.take(questions.UidQuery, request, questions.UIDS_BYTES, "ask about fewer users")
    if query is None:
        raise invalid("body", 'name the users as in {"uids": ["u100"]}')
    await grant_check.allow(request, query.uids, is_past=query.is_past)
    note_read(request, query.uids)
    if not query.is_past:
        services.asked.note(query.uids)
    if not query.is_past:
        return await services.representations.answer(await services.answering.of(query.uids), wanted)
    read, before = await _past(services, query.uids, query)
    response = await services.representations.answer(read, wanted)
    response.headers.update(archive_header.archived(before))
    return response


@router.get(
    "/v1/presence",
    summary="List presences",
    responses=answered(PresencePage) | responses.refused(responses.CURSOR, "`source` holds NUL"),
)
async def list_presences(request: Request, query: Annotated[PresenceFilter, Query()]) -> Response:
    """Users in the order of their uids. A page may hold fewer than `limit` while `next` goes on."""
    services = get_services(request)
    wanted = listing.Filter(query.status, query.device_flag, query.source)
    after = from_cursor(query.after)
    if after is not None and not can_be_stored(after):
        raise bad_cursor()
    page = await services.reader.page(wanted, after, query.limit)
    following = encode(None if page.last_uid is None else to_cursor(page.last_uid))
    return Response(representation.items(page.read, b',"next":' + following + b"}"), media_type="application/json")


@router.get("/v1/presence/summary", summary="Count presences", responses=answered(SummaryBody))
async def get_summary(request: Request) -> Response:
    """How many users are in each status, and devices online by device flag, source and node; counted now.

    Counting takes a second where there are hundreds of thousands. `Cache-Control: max-age=SECONDS` of the request says
    that older counts will do; `as_of` says when they were, and `Age` how long ago.
    """
    refuse_parameters(request)
    counts = await get_services(request).summaries.within(max_age(request.headers.get("cache-control")))
    return as_json(summary_body(counts.summary), headers={"Age": str(int(counts.age))} if counts.age else None)


def summary_body(counts: listing.PresenceSummary) -> SummaryBody:
    """The counts in the order of their sources."""
    flags: Counter[tuple[str, int | None]] = Counter()
    nodes: Counter[tuple[str, str]] = Counter()
    for source, flag, node, number in counts.devices:
        flags[source, flag] += number
        nodes[source, node] += number
    by_flag = sorted(flags.items(), key=lambda item: (item[0][0], -1 if item[0][1] is None else item[0][1]))
    return SummaryBody(
        UserCounts(*(counts.statuses.get(status, 0) for status in ("online", "offline", "unknown"))),
        [FlagCount(source, flag, number) for (source, flag), number in by_flag],
        [NodeCount(source, node, number) for (source, node), number in sorted(nodes.items())],
        as_of_body(*counts.made),
    )


async def _past(services: Services, uids: Sequence[str], when: When) -> Asked[Read]:
    """The answer about the past that a request asks for, all of one snapshot."""
    services.answering.expect_postgresql()
    now = services.clock.now()

    def needs(connection: Connection[TupleRow], before: int) -> Wanted | None:
        return archived.as_of(connection, before, uids, resolve_point(connection, when, now))

    def question(connection: Connection[TupleRow]) -> Read:
        made = resolve_point(connection, when, now)
        return past.read(connection, services.ledger.events_mapper, uids, made, services.rule_folds)

    def read() -> Asked[Read]:
        with services.past:
            return services.archive.ask("snapshots, drifts", needs, question)

    return await run_in_threadpool(read)
