"""The webhook route: who may post, how much, what is answered when; a 200 says that the items are in the ledger."""

import os
import time

from fastapi import APIRouter, Request, Response

from ledger.errors import StoreUnavailable
from ledger.http import bodies
from ledger.http.auth import secret_matches
from ledger.http.connections import Standing, vouch
from ledger.http.problems import Problem
from ledger.http.state import Services
from ledger.sources.wukongim.payload import EVENT_NAME
from projections.sources import SourceUnreadable

router = APIRouter(tags=["webhooks"])


@router.post(
    "/hooks/{source}/{node}/{secret}",
    summary="Take a webhook of a WuKongIM node",
    response_class=Response,
    responses={
        200: {"description": "Durable; the body is empty"},
        403: {"description": "Wrong secret, or no such source or node; nothing is stored"},
        413: {"description": "The body is larger than `max_body_bytes`; nothing is stored"},
        503: {
            "description": "PostgreSQL was away for longer than `store_wait_seconds`, or the source's stream holds an "
            "event that this version cannot read; nothing is stored, WuKongIM sends again"
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
        }
    },
)
async def take_webhook(request: Request, source: str, node: str, secret: str, event: str = "") -> Response:
    """Every item of the array becomes an event before the answer; what does not parse is kept raw, as rejected.

    `event` other than `user.onlinestatus` is acknowledged and not stored.
    """
    services: Services = request.app.state.services
    counters = services.counters
    if not allowed(services, source, node, secret):
        counters.forbidden.inc()
        raise Problem(403, "no such source or node, or a wrong secret")
    vouch(request.scope, Standing.SENDER)
    if event != EVENT_NAME:
        await bodies.discard(request, services.settings.max_body_bytes)
        counters.other_events.labels(source, node).inc()
        return Response()
    body = await _read(request, services, source, node)
    started = time.perf_counter()
    try:
        await services.intake.submit(new_delivery_id(), source, node, services.clock.now(), body)
    except StoreUnavailable:
        counters.refused.labels(source, node, "store_unavailable").inc()
        raise
    except SourceUnreadable:
        counters.refused.labels(source, node, "source_unreadable").inc()
        raise
    counters.accepted.labels(source, node).inc()
    counters.webhook_seconds.observe(time.perf_counter() - started)
    return Response()


def allowed(services: Services, source: str, node: str, secret: str) -> bool:
    """Whether a path's names and secret are ours; an unknown name costs as much time as a wrong secret."""
    accepted = services.hook_secrets.get((source, node))
    matches = secret_matches(secret, accepted or services.no_secrets)
    return matches and accepted is not None


async def _read(request: Request, services: Services, source: str, node: str) -> bytes:
    """The body, if it is within the bound; counted where it is not, since its items are lost."""
    try:
        return await bodies.read(request, services.settings.max_body_bytes, "its items are lost unless sent in parts")
    except bodies.TooLarge:
        services.counters.refused.labels(source, node, "too_large").inc()
        raise


def new_delivery_id() -> str:
    """A UUID of version 7 (RFC 9562): ascending in time, so that its index grows at one end."""
    milliseconds = time.time_ns() // 1_000_000
    value = int.from_bytes(os.urandom(10))
    low = 0x8000_0000_0000_0000 | value >> 16 & 0x3FFF_FFFF_FFFF_FFFF
    digits = f"{milliseconds:012x}7{value & 0xFFF:03x}{low:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
