"""The routes of the archive: what is in it, how archiving fares, and to do it now."""

from collections.abc import Callable
from typing import Protocol

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from ledger.domain.instants import optional
from ledger.domain.observation import Instant
from ledger.http import responses
from ledger.http.answers import as_json
from ledger.http.auth import require
from ledger.http.paging import refuse_parameters
from ledger.http.record_answers import ArchiveBody
from ledger.http.responses import answered
from ledger.http.state import get_services
from ledger.store.archive import table

record = APIRouter(tags=["archive"], dependencies=[Depends(require("audit"))], responses=responses.PROBLEMS)
orders = APIRouter(tags=["archive"], dependencies=[Depends(require("admin"))], responses=responses.PROBLEMS)


class ArchiveRun(msgspec.Struct, frozen=True):
    """How archiving fares in this instance."""

    is_running: bool = False
    finished_at: Instant | None = None
    """The last time."""
    events: int = 0
    """That left the database then."""
    failed: str | None = None
    """Why it went no further then, …"""
    failing_since: Instant | None = None
    """… since when it has not, …"""
    waits: bool = False
    """… and whether it only waits for somebody."""


class Archiver(Protocol):
    """Who archives, beside the answers."""

    @property
    def run(self) -> ArchiveRun: ...

    order: Callable[[], None]


@record.get("/v1/archive", summary="The archive", responses=answered(ArchiveBody))
def get_archive(request: Request) -> Response:
    """What has been archived: events of users before `before` are in files, and no longer in the database.

    `finished_at`, `archived` and `failed` are of this instance's last run; `failed` says why it went no further.
    """
    refuse_parameters(request)
    return as_json(_body(request))


@orders.post(
    "/v1/archive",
    summary="Archive now",
    status_code=202,
    responses={202: answered(ArchiveBody)[200]},
)
def archive_now(request: Request) -> Response:
    """Archive what is older than `retention.events_days`, as is done once an hour anyway; 0: nothing is, ever.

    It goes on after the answer: `running` says for how long. Whole partitions leave, the oldest first, once their files
    are written, proven by the seals, and durable.
    """
    refuse_parameters(request)
    archiver: Archiver = request.app.state.archiver
    archiver.order()
    return as_json(_body(request), status=202)


def _body(request: Request) -> ArchiveBody:
    services = get_services(request)
    archiver: Archiver = request.app.state.archiver
    with services.ledger.connection() as connection:
        before, manifests = table.before(connection), table.read(connection)
    run = archiver.run
    return ArchiveBody(
        events_days=services.settings.events_days,
        before=before,
        files=len(manifests),
        events=sum(each.events for each in manifests),
        size_bytes=sum(each.size for each in manifests),
        running=run.is_running,
        finished_at=optional(run.finished_at),
        archived=run.events,
        failed=run.failed,
    )
