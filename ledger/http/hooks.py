"""The webhook route: who may post, how much, what is answered when; a 200 says that the items are durable."""

import os
import time

from fastapi import APIRouter, Request, Response
from starlette.datastructures import QueryParams

from ledger.errors import StoreUnavailable
from ledger.http import bodies
from ledger.http.auth import client_address, secret_matches
from ledger.http.problems import Problem
from ledger.http.state import Services
from ledger.ingest.ticket import Ticket
from ledger.server.connections import Standing, vouch
from ledger.sources.wukongim.payload import EVENT_NAME
from ledger.working_state.sources import SourceUnreadable

router = APIRouter(tags=["webhooks"])

NO_EVENT = (
    "the query has no 'event': give the node the address as `config wukongim` prints it, and let no proxy take the "
    "query away"
)
ID_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
ID_LENGTH, RANDOM_BITS = 20, 52
_PAIRS = [one + other for one in ID_DIGITS for other in ID_DIGITS]
_SHIFTS = range(5 * ID_LENGTH - 10, -1, -10)
TOO_LARGE = "max_body_bytes bounds it, and its items are lost unless sent in parts"


@router.post(
    "/hooks/{source}/{node}/{secret}",
    summary="Take a webhook of a WuKongIM node",
    response_class=Response,
    responses={
        200: {"description": "Durable; the body is empty. Of another event: the business server's own answer"},
        400: {"description": "The query has no `event`, or the body was cut off; nothing is stored"},
        403: {"description": "Wrong secret, or no such source or node; nothing is stored"},
        408: {"description": "The body took too long; nothing is stored"},
        413: {"description": "The body is larger than `max_body_bytes`; nothing is stored"},
        502: {"description": "Of another event: the business server does not answer; WuKongIM sends again"},
        504: {"description": "Of another event: the business server is slower than WuKongIM waits"},
        415: {"description": "A `Content-Encoding` other than gzip; nothing is stored"},
        503: {
            "description": "PostgreSQL was away for longer than `store_wait_seconds`, and the spool is off or full, or "
            "the source's stream holds an event that this version cannot read; nothing is stored, WuKongIM sends again"
        },
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "array", "items": {"type": "string"}},
                    "example": ["u100-0-1-1-1-1", "u100-1-1-2-1-2"],
                }
            },
        },
        "parameters": [
            {
                "name": "event",
                "in": "query",
                "required": True,
                "schema": {"type": "string", "minLength": 1},
                "example": EVENT_NAME,
            }
        ],
    },
)
async def take_webhook(request: Request, source: str, node: str, secret: str) -> Response:
    """Every item of the array becomes an event before the answer, or its body is in the spool while PostgreSQL is away;
    what does not parse is kept raw, as rejected.

    An `event` other than `user.onlinestatus` is forwarded as it came and not stored; without a `forward_url` it is
    acknowledged.
    """
    services: Services = request.app.state.services
    counters = services.counters
    if not allowed(services, source, node, secret):
        services.refusals.forbid(source, node, client_address(request))
        raise Problem(403, "no such source or node, or a wrong secret")
    vouch(request.scope, Standing.SENDER)
    services.senders.note(source, node, client_address(request))
    event = parse_event(request.query_params)
    if not event:
        counters.delivered(source, node, "no_event")
        raise Problem(400, NO_EVENT)
    if event != EVENT_NAME:
        counters.delivered(source, node, "other_event")
        return await _other(request, services, source, node, event)
    raw = await _read(request, services, source, node)
    body = await _decoded(request, services, source, node, raw)
    started = time.perf_counter()
    try:
        ticket = await services.intake.submit(new_delivery_id(), source, node, services.clock.now(), body)
    except StoreUnavailable:
        counters.delivered(source, node, "store_unavailable")
        raise
    except SourceUnreadable:
        counters.delivered(source, node, "source_unreadable")
        raise
    if not ticket.is_spooled:
        services.outages.webhooks.succeeded()
    counters.delivered(source, node, _outcome(ticket))
    counters.webhook_seconds.observe(time.perf_counter() - started)
    if services.forwarding.takes_presence(source, node):
        services.forwarding.relay(request, source, node, raw)
    return Response()


def _outcome(ticket: Ticket) -> str:
    if ticket.is_spooled:
        return "spooled"
    return "accepted" if ticket.is_array else "rejected"


async def _other(request: Request, services: Services, source: str, node: str, event: str) -> Response:
    """The business server's answer; without one, an empty 200, since an error would have WuKongIM send again."""
    if services.forwarding.takes(source):
        return await services.forwarding.forward(
            request, source, node, event, await _read(request, services, source, node)
        )
    await bodies.discard(request, services.settings.max_body_bytes)
    services.forwarding.swallow(source, event)
    return Response()


def allowed(services: Services, source: str, node: str, secret: str) -> bool:
    """Whether a path's names and secret are ours; an unknown name costs as much time as a wrong secret."""
    accepted = services.hook_secrets.get((source, node))
    matches = secret_matches(secret, accepted or services.no_secrets)
    return matches and accepted is not None


def parse_event(query: QueryParams) -> str:
    """The event that a webhook is of; empty where its query does not say.

    A node appends `?event=…` to its address as it is, so that a query which that has itself would swallow it.
    """
    event: str = query.get("event", "")
    for name, value in query.multi_items():
        if name.endswith("?event"):
            event = value
        elif "?event=" in value:
            event = value.rpartition("?event=")[2]
    return event


async def _read(request: Request, services: Services, source: str, node: str) -> bytes:
    """The body as it came; counted where it cannot be taken, since what it holds is lost."""
    try:
        return await bodies.as_it_came(request, services.settings.max_body_bytes, TOO_LARGE)
    except bodies.TooLarge:
        services.counters.delivered(source, node, "too_large")
        raise


async def _decoded(request: Request, services: Services, source: str, node: str, raw: bytes) -> bytes:
    """The same decoded. One that is not the gzip that it says is taken as it came: it is kept, as rejected."""
    try:
        return await bodies.decoded(request, raw, services.settings.max_body_bytes, TOO_LARGE)
    except bodies.Undecodable as odd:
        return odd.body
    except bodies.TooLarge:
        services.counters.delivered(source, node, "too_large")
        raise
    except bodies.Encoded:
        services.counters.delivered(source, node, "encoding")
        raise


def new_delivery_id() -> str:
    """Twenty digits to the base 32, as a ULID has them: milliseconds, then 52 bits at random.

    Ascending in time, so that its index grows at one end; and short, since each item of the delivery has it.
    """
    value = time.time_ns() // 1_000_000 << RANDOM_BITS | int.from_bytes(os.urandom(8)) >> 64 - RANDOM_BITS
    return "".join([_PAIRS[value >> shift & 1023] for shift in _SHIFTS])
