"""The route that makes tokens of streams, for end users' clients."""

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from ledger.domain.instants import to_text
from ledger.http import list_bodies, responses
from ledger.http.answers import as_json
from ledger.http.auth import require
from ledger.http.grants import MAX_EXPIRES_SECONDS, MAX_TOKEN_CHARACTERS, Tokens
from ledger.http.list_answers import TokenBody
from ledger.http.list_bodies import MAX_TOKEN_UIDS, TokenOrder, check_name, check_uids
from ledger.http.lists import NoSuchList
from ledger.http.paging import refuse_parameters
from ledger.http.problems import invalid
from ledger.http.questions import REFUSED
from ledger.http.responses import answered
from ledger.http.state import Services, get_services
from ledger.working_state import watch_lists

router = APIRouter(tags=["streams"], dependencies=[Depends(require("watch"))], responses=responses.PROBLEMS)

FRACTION = "`expires_seconds` is written with a fraction, such as 7.0"
TOO_MANY = "so many users that their token is too long"
TOO_LONG = f"the token would be longer than {MAX_TOKEN_CHARACTERS} characters: make a list, and a token for it"


@router.post(
    "/v1/stream/tokens",
    summary="Make a token for an end user's client",
    responses=answered(TokenBody)
    | {404: responses.problem("No such list")}
    | REFUSED
    | responses.refused(
        responses.UID,
        "neither `uids` nor `list`, or both",
        "nobody in `uids`",
        TOO_MANY,
        FRACTION,
        "the body is not of that form",
    ),
    openapi_extra=list_bodies.described(TokenOrder, {"uids": ["bob", "carol"], "expires_seconds": 600}),
)
async def make_stream_token(request: Request) -> Response:
    """These users' presence and stream, or those of whoever is on the list, and nothing else, until it expires."""
    refuse_parameters(request)
    order = await list_bodies.take(TokenOrder, request)
    if (order.uids is None) == (order.list is None):
        raise invalid("uids", "name users, or a list, and not both")
    if not 1 <= order.expires_seconds <= MAX_EXPIRES_SECONDS:
        raise invalid("expires_seconds", f"not from 1 to {MAX_EXPIRES_SECONDS}")
    if order.uids is not None:
        check_uids("uids", order.uids, MAX_TOKEN_UIDS)
        if not order.uids:
            raise invalid("uids", "names nobody")
    if order.list is not None:
        check_name("list", order.list)
        await run_in_threadpool(_expect, get_services(request), order.list)
    tokens: Tokens = request.app.state.tokens
    token, expires_at = await tokens.sign(order.uids, order.list, order.expires_seconds)
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise invalid("uids", TOO_LONG)
    return as_json(TokenBody(token, to_text(expires_at)))


def _expect(services: Services, name: str) -> None:
    with services.ledger.connection() as connection:
        if watch_lists.get(connection, name) is None:
            raise NoSuchList
