"""The routes for those who run the service: health, metrics, sources."""

import asyncio
from typing import Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from ledger.domain.instants import optional
from ledger.domain.source import NodeState, SourceState
from ledger.errors import StoreUnavailable
from ledger.http import schemas
from ledger.http.auth import require
from ledger.http.paging import refuse_parameters
from ledger.http.problems import Problem
from ledger.http.state import Services, services_of
from projections import sources

READY_SECONDS = 2.0

health = APIRouter(tags=["operations"])
router = APIRouter(tags=["operations"], dependencies=[Depends(require("audit"))], responses=schemas.PROBLEMS)


@health.get("/health/live", summary="Does the process run?")
async def live() -> dict[str, str]:
    """200 as long as the process answers."""
    return {"status": "live"}


@health.get(
    "/health/ready",
    summary="Can it take webhooks and answer?",
    responses={503: {"description": "PostgreSQL does not answer, or the service is stopping"}},
)
async def ready(request: Request) -> dict[str, Any]:
    """200 while the database answers and the writer runs; `head` is the ledger's last position."""
    services = services_of(request)
    if not services.writer.is_alive():
        raise Problem(503, "the writer has stopped")
    try:
        async with asyncio.timeout(READY_SECONDS):
            head = (await services.reader.many([])).head
    except TimeoutError as error:
        raise StoreUnavailable(f"PostgreSQL did not answer within {READY_SECONDS:g} s") from error
    return {"status": "ready", "instance": services.instance, "head": head}


async def metrics(request: Request) -> Response:
    """What this instance counts, in Prometheus' text format."""
    return Response(services_of(request).counters.exposition(), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/sources", summary="The sources and their nodes", response_model=schemas.SourceItems)
def list_sources(request: Request) -> Response:
    """Each source of the settings as the ledger has it, and what this instance counted of its nodes."""
    refuse_parameters(request)
    services = services_of(request)
    ledger = services.ledger
    with ledger.connection() as connection:
        states = [sources.load(connection, ledger, source.name) for source in services.settings.sources]
    body = {
        "items": [_source_view(services, state) for state in states],
        "forbidden_since_start": services.counters.forbidden_count(),
    }
    return Response(msgspec.json.encode(body), media_type="application/json")


def _source_view(services: Services, source: SourceState) -> dict[str, Any]:
    nodes = []
    for name, profile in source.node_profiles.items():
        node = source.nodes.get(name, NodeState())
        nodes.append(
            {
                "name": name,
                "profile": profile,
                "last_webhook_at": optional(node.last_webhook_at),
                "highest_conn_id": node.highest_conn_id,
                "down_since": optional(node.down_since),
                "since_start": services.counters.of_node(source.name, name),
            }
        )
    return {
        "name": source.name,
        "profile": source.profile,
        "version": source.version,
        "last_webhook_at": optional(source.last_webhook_at),
        "dark_since": optional(source.dark_since),
        "nodes": nodes,
    }
