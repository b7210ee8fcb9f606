"""The route that says whom to send a push notification now."""

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from ledger.domain.device_names import DEVICE_NAMES
from ledger.domain.reach import DeviceReach, Reach
from ledger.http import questions, responses
from ledger.http.answers import AsOfBody, DeviceReachBody, ReachBody, ReachItems, as_json, as_of_body
from ledger.http.auth import note_read, require
from ledger.http.paging import refuse_parameters
from ledger.http.problems import invalid
from ledger.http.responses import answered
from ledger.http.state import get_services

router = APIRouter(tags=["presence"], dependencies=[Depends(require("read"))], responses=responses.PROBLEMS)


@router.post(
    "/v1/reach/query",
    summary="Which of these users need a push notification?",
    responses=answered(ReachItems) | questions.REFUSED | responses.refused(responses.JSON),
    openapi_extra=questions.described(questions.ReachQuery),
)
async def query_reach(request: Request) -> Response:
    """Whether to notify each of up to 10,000 users now, in the order asked, all of one snapshot.

    `push` is false only where a connection on the app (with `policy.reach_any_device`, on any device) was heard of
    within `policy.reach_verified_seconds` and nothing speaks against it; `because` says why, `certain` whether that is
    sure. For a device, `push` says whether it takes the message itself.
    """
    refuse_parameters(request)
    services = get_services(request)
    query = await questions.take(questions.ReachQuery, request, questions.UIDS_BYTES, "ask about fewer users")
    if query is None:
        raise invalid("body", 'name the users as in {"uids": ["u100"]}')
    note_read(request, query.uids)
    async with services.reader.turn():
        made, answers = await run_in_threadpool(services.reach.read, query.uids)
    as_of = as_of_body(*made)
    return as_json(ReachItems([_body(each, as_of) for each in answers]))


def _body(reach: Reach, as_of: AsOfBody) -> ReachBody:
    return ReachBody(reach.uid, *reach.answer, [_device(device) for device in reach.devices], as_of)


def _device(device: DeviceReach) -> DeviceReachBody:
    name = DEVICE_NAMES.get(device.device_flag, "custom")
    return DeviceReachBody(device.source, device.device_flag, name, *device.answer)
