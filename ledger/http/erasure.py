"""The route of an erasure: everything that names a user is removed, and who was erased by whom stays on record."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ledger.domain.instants import from_datetime, to_text
from ledger.errors import StoreUnavailable
from ledger.http import questions, responses, spools
from ledger.http.answers import as_json
from ledger.http.auth import require
from ledger.http.overrides import MAX_REASON_CHARACTERS, checked_reason
from ledger.http.paging import refuse_parameters
from ledger.http.problems import Problem, invalid
from ledger.http.record_answers import BackupBody, ErasureBody
from ledger.http.responses import answered
from ledger.http.state import Services, get_services
from ledger.http.uid import Uid
from ledger.ingest import erasing, erasing_end
from ledger.ingest.erasing import Erasure, NeverSeen, Order, RebuildUnderWay, SpoolHoldsWebhooks
from ledger.ingest.erasing_end import Waiting
from ledger.settings import known_seal_keys
from ledger.store.seal import SealKey
from ledger.working_state import backups

router = APIRouter(tags=["erasure"], dependencies=[Depends(require("admin"))], responses=responses.PROBLEMS)

WAIT_SECONDS = 8.0
"""So long the answer waits for sinks and streams; what they have not done by then is done all the same."""
LOOK_SECONDS = 0.25


class EraseQuery(BaseModel):
    """Why a user is to be erased; it stays on record, and does not name them."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "their request, ticket 4711"}]}
    )

    reason: Annotated[str, Field(max_length=MAX_REASON_CHARACTERS), AfterValidator(checked_reason)]


@router.post(
    "/v1/users/{uid:uid}/erase",
    summary="Erase a user",
    responses=answered(ErasureBody)
    | questions.REFUSED
    | {
        404: responses.problem("Nothing names the user, and they were never erased: nothing was written"),
        409: responses.problem(
            "Webhooks wait in a spool, or a projection is being rebuilt, try again once that is over; or the user is a "
            "canary"
        ),
    }
    | responses.refused(responses.UID, "`reason` is blank, or holds NUL", responses.JSON),
    openapi_extra=questions.described(EraseQuery),
)
async def erase_user(request: Request, uid: Uid) -> Response:
    """Remove every event of the user, every row about them, and their part of what names others as well.

    One commit does all of it, and puts on record who asked for it, why, how many events went, and a keyed hash of the
    uid, never the uid. The seals still verify. Streams and sinks are told that the user was never observed; until they
    have done their part, which the answer waits for a while, `waiting` names the sinks. Asked again, it is the same
    record, unless the user has come again since. `backup`: the last one that still holds them; `spools`:
    webhooks that nobody drains, which may. While webhooks wait in a spool that is drained, nothing is erased.
    """
    refuse_parameters(request)
    if (problem := questions.uid_problem(uid)) is not None:
        raise invalid("uid", problem)
    services = get_services(request)
    asked = await questions.take(EraseQuery, request, questions.SMALL_BYTES, "an erasure has a reason")
    if asked is None:
        raise invalid("body", 'say why, as in {"reason": "their request, ticket 4711"}')
    if any(canary.uid == uid for source in services.settings.sources for canary in source.canaries):
        raise Problem(409, "this user is a canary, who would come again at once: take it out of the settings first")
    keys = [services.seal_key, *map(SealKey, known_seal_keys(services.settings))]
    order = Order(asked.reason, request.state.key_name)

    def erase() -> Erasure:
        # It looks through the ledger, over a connection that webhooks might need.
        with services.past:
            return erasing.erase(
                services.ledger, uid, order, keys, services.clock.now(), services.settings.archive_dir,
                lambda connection: spools.expect_empty(services, connection),
            )  # fmt: skip

    try:
        erasure = await asyncio.to_thread(erase)
    except NeverSeen as error:
        raise Problem(404, "this user was never seen: there is nothing to erase") from error
    except (RebuildUnderWay, SpoolHoldsWebhooks) as error:
        raise Problem(409, str(error)) from error
    if erasure.is_new and services.last_known is not None:
        services.last_known.note_erased(uid, erasure.position)
    waiting = await _wait(services, erasure)
    return as_json(await asyncio.to_thread(_body, services, uid, erasure, waiting))


async def _wait(services: Services, erasure: Erasure) -> Waiting | None:
    """Until all have done their part, or for a while -> what is waited for; None: it is done."""
    names = [sink.name for sink in services.settings.sinks]
    waiting: Waiting | None = Waiting([], held=False)
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while waiting is not None and not waiting.held:
                waiting = await asyncio.to_thread(_finish, services, erasure.position, names)
                await asyncio.sleep(0 if waiting is None else LOOK_SECONDS)
    except (TimeoutError, StoreUnavailable):
        # It is committed; the rest is done by whichever instance comes to it.
        pass
    return waiting


def _finish(services: Services, position: int, names: list[str]) -> Waiting | None:
    erasing_end.finish(services.ledger, names)
    return erasing_end.waiting_for(services.ledger, position, names)


def _body(services: Services, uid: str, erasure: Erasure, waiting: Waiting | None) -> ErasureBody:
    with services.ledger.connection() as connection:
        last = backups.last_before(connection, erasure.position)
        spools_left = spools.left(services, connection)
    event = erasure.event
    return ErasureBody(
        uid=uid,
        position=erasure.position,
        at=to_text(event.at),
        by=event.by,
        reason=event.reason,
        events=event.events,
        redacted=len(event.redacted),
        erased_before=not erasure.is_new,
        complete=waiting is None,
        waiting=[] if waiting is None else waiting.sinks,
        backup=None if last is None else BackupBody(to_text(from_datetime(last[0])), round(last[1], 3)),
        spools=spools_left,
    )
