"""The routes for those who run the service: health, metrics, sources."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.instants import from_datetime, optional, to_text
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState
from ledger.errors import StoreUnavailable
from ledger.http import projections, schemas, source_reasons
from ledger.http.auth import require
from ledger.http.paging import refuse_parameters
from ledger.http.problems import Problem
from ledger.http.state import Services, get_services
from ledger.settings import SourceSettings
from ledger.store.ledger import Ledger
from ledger.store.preflight import SKEW_SECONDS, skew_in_words
from ledger.working_state import node_health, sources
from ledger.working_state.sources import SourceUnreadable

READY_SECONDS = 2.0

LED_SECONDS = 10.0
"""Another instance leads so long after the end of the one before, at the latest."""

Json = dict[str, Any]

health = APIRouter(tags=["operations"])
router = APIRouter(tags=["operations"], dependencies=[Depends(require("audit"))], responses=schemas.PROBLEMS)


@health.get("/health/live", summary="Does the process run?")
async def live(request: Request) -> dict[str, str]:
    """200 as long as the process answers. `ledger`: which one it serves, for whoever is to share its port."""
    services = get_services(request)
    return {"status": "live", "instance": services.instance, "ledger": services.ledger_id}


@health.get(
    "/health/ready",
    summary="Can it take webhooks and answer?",
    responses={
        503: {
            "description": "PostgreSQL does not answer or takes no writes, a source's state cannot be read, the "
            "instance can neither lead reconciliation nor see that another does, or the service is stopping"
        }
    },
)
async def ready(request: Request) -> dict[str, Any]:
    """200 while the database answers and takes writes, the writer runs and every source's webhooks can be judged.

    `head` is the ledger's last position. Where a source's stream holds an event, or was left in a state, that this
    version cannot read, the answer names it and the way out; who is online is answered all the same.
    A projection that lags or has stopped is shown, and makes no instance unready. `ledger` says which one this is and,
    where its database once lacked commits that were known, as after a fail-over, when it `went_back` and how far.
    `database_clock_offset_seconds` is by how much the database's clock is ahead of this machine's, at least; more than
    a second is among the `warnings`.
    """
    services = get_services(request)
    if not services.writer.is_alive():
        raise Problem(503, "the writer has stopped")
    missing = "PostgreSQL did not answer"
    try:
        async with asyncio.timeout(READY_SECONDS):
            found = await projections.read(services)
            offset = await services.database.look()
            missing = "the sources' streams were not read to their ends"
            await asyncio.to_thread(services.streams.check)
    except TimeoutError as error:
        raise StoreUnavailable(f"{missing} within {READY_SECONDS:g} s") from error
    head, shown = found[0].head, projections.views(found)
    return {
        "status": "ready",
        "instance": services.instance,
        "head": head,
        "projections": shown,
        "ledger": await projections.identity_view(services),
        "database_clock_offset_seconds": round(offset, 3),
        "warnings": [skew_in_words(offset)] if abs(offset) > SKEW_SECONDS else [],
    }


async def metrics(request: Request) -> Response:
    """What this instance counts, in Prometheus' text format."""
    await projections.measure(get_services(request))
    return Response(get_services(request).counters.exposition(), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/sources", summary="The sources and their nodes", response_model=schemas.SourceItems)
def list_sources(request: Request) -> Response:
    """Each source of the settings as the ledger has it, how its query APIs fare, and what this instance counted."""
    refuse_parameters(request)
    services = get_services(request)
    with services.ledger.connection() as connection:
        found = [
            SourceView(
                services,
                settings,
                _read(connection, services.ledger, settings.name),
                node_health.of_source(connection, settings.name),
            )
            for settings in services.settings.sources
        ]
    body = {
        "items": [source.view() for source in found],
        "forbidden_since_start": services.refusals.number(),
    }
    return Response(msgspec.json.encode(body), media_type="application/json")


def _read(connection: Connection[TupleRow], ledger: Ledger, name: str) -> SourceState | SourceUnreadable:
    """A source's state, or what keeps it from being read."""
    try:
        return sources.load(connection, ledger, name)
    except SourceUnreadable as error:
        return error


def _as_far_as_known(state: SourceState, settings: SourceSettings) -> SourceState:
    """A state that could not be read to its end, with the nodes of the settings where it has none."""
    if state.node_profiles:
        return state
    profiles = {node.name: settings.profile_for(node) for node in settings.nodes}
    return msgspec.structs.replace(state, profile=settings.profile, node_profiles=profiles)


class SourceView:
    """One source of the settings, its state in the ledger, and what the leading instance noted of it.

    Of one that cannot be read the state is as far as it can; its nodes are those of the settings where none are known.
    """

    def __init__(
        self,
        services: Services,
        settings: SourceSettings,
        state: SourceState | SourceUnreadable,
        noted: Mapping[str, Json],
    ) -> None:
        self._services = services
        self._unreadable = state if isinstance(state, SourceUnreadable) else None
        self._state = _as_far_as_known(state.state, settings) if isinstance(state, SourceUnreadable) else state
        self._noted = noted.get("", {})
        self._looks: Json = self._noted.get("looks") or {}
        self._asked = [node.name for node in settings.nodes if node.api_url]
        self._apis = {name: noted[name] for name in self._asked if name in noted}

    def view(self) -> Json:
        """As the API shows it."""
        state = self._state
        return {
            "name": state.name,
            "profile": state.profile,
            "version": state.version,
            "health": self._health(),
            "reasons": list(self._reasons()),
            "last_webhook_at": optional(state.last_webhook_at),
            "rhythm_seconds": self._noted.get("webhook_interval_seconds"),
            "webhooks_silent": self._webhooks_are_silent,
            "last_good_poll_at": self._noted.get("last_good_poll_at"),
            "leader": self._noted.get("leader"),
            "looks": self._looks or None,
            "dark_since": optional(state.dark_since),
            "breaker": {"open": state.breaker_until is not None, "until": optional(state.breaker_until)},
            "open_runs": [
                {
                    "run": run,
                    "scope": opened.scope,
                    "node": opened.node,
                    "started_at": optional(opened.started_at),
                    "users": len(opened.uids) or None,
                }
                for run, opened in state.open_runs.items()
            ],
            "retired_nodes": list(state.retired),
            "nodes": [self._node(name, profile) for name, profile in state.node_profiles.items()],
        }

    def _node(self, name: str, profile: Profile) -> Json:
        node = self._state.nodes.get(name, NodeState())
        api = self._apis.get(name)
        return {
            "name": name,
            "profile": profile,
            "last_webhook_at": optional(node.last_webhook_at),
            "highest_conn_id": node.highest_conn_id,
            "down_since": optional(node.down_since),
            "boot": node.boot and {"earliest": optional(node.boot[0]), "latest": optional(node.boot[1])},
            "api": {
                "configured": name in self._asked,
                "health": None if api is None else {field: api.get(field) for field in schemas.ApiHealth.model_fields},
            },
            "since_start": self._services.counters.for_node(self._state.name, name),
        }

    def _health(self) -> str:
        if self._state.dark_since is not None:
            return "dark"
        if not self._asked and self._unreadable is None:
            return "unreconciled"
        return "degraded" if any(self._reasons()) else "good"

    @property
    def _webhooks_are_silent(self) -> bool:
        return bool(self._noted.get("webhooks_silent", False))

    def _reasons(self) -> Iterator[str]:
        """Why the source is not good, in words."""
        state = self._state
        if self._unreadable is not None:
            yield str(self._unreadable)
        if state.dark_since is not None:
            yield f"neither a webhook nor a good answer since {to_text(state.dark_since)}"
        if not self._asked:
            yield "no node has an api_url: what webhooks miss stays unseen"
        elif (unled := self._unled()) is not None:
            yield unled
        if state.breaker_until is not None:
            yield (
                "too many online users were said to be offline at once: corrections to offline are held until "
                f"{to_text(state.breaker_until)} at least"
            )
        if self._webhooks_are_silent:
            yield "webhooks have stopped while queries answer: look at the webhook's address and secret on the nodes"
        yield from source_reasons.never_posted(state, self._looks)
        yield from source_reasons.refused(state, self._refusals(), self._services.clock.now())
        yield from source_reasons.unconfirmed(state, self._looks)
        for name, words in self._noted.get("profile_mismatches", {}).items():
            profile = state.node_profiles.get(name)
            if profile is not None:
                yield f"{name}: its profile is {profile}, but {words}: set `profile` to the version that runs there"
        for name in state.node_profiles:
            yield from self._reasons_of(name)
        for name in state.retired:
            yield f"{name}: no longer configured; its sessions are still to be ended"

    def _refusals(self) -> Iterable[source_reasons.Refused]:
        """The webhooks of this source that this instance has refused, where it keeps count of them by node."""
        kept = getattr(self._services, "refusals", None)
        found: Iterable[source_reasons.Refused] = () if kept is None else kept.of_source(self._state.name)
        return found

    def _unled(self) -> str | None:
        """Whether the leading instance is missing: it notes every second how it fares."""
        noted_at = self._noted.get("noted_at")
        if noted_at is None:
            return "reconciliation has not begun yet"
        ago = (self._services.clock.now() - from_datetime(datetime.fromisoformat(noted_at))) / SECOND
        return f"no instance has reconciled since {noted_at}" if ago > LED_SECONDS else None

    def _reasons_of(self, name: str) -> Iterator[str]:
        node = self._state.nodes.get(name, NodeState())
        if node.down_since is not None and node.swept:
            yield f"{name}: does not answer since {to_text(node.down_since)}"
        elif not node.swept:
            yield f"{name}: has booted; who was connected to it before is still being looked at"
        if name not in self._asked:
            return
        api = self._apis.get(name, {})
        if failures := api.get("failures_in_a_row"):
            yield f"{name}: its query API fails ({failures} in a row): {api.get('last_reason')}"
        elif api.get("probe_reason") is not None:
            yield f"{name}: its last probe failed: {api['probe_reason']}"
        elif api.get("last_good_at") is None and api.get("last_good_probe_at") is None:
            yield f"{name}: its query API has not answered yet"
