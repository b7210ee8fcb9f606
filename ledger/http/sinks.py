"""The routes of sinks: how each fares, and to pause, resume and replay it."""

import asyncio
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from psycopg import Connection
from psycopg.rows import TupleRow
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ledger.domain.instants import from_datetime, optional, parse_timestamp, to_text
from ledger.domain.observation import Instant
from ledger.http import questions, responses
from ledger.http.answers import as_json
from ledger.http.auth import require
from ledger.http.paging import refuse_parameters
from ledger.http.problems import Problem, invalid
from ledger.http.responses import answered
from ledger.http.sink_answers import SinkBody, SinkErrorBody, SinkItems, SinkState
from ledger.http.state import Services, get_services
from ledger.settings import SinkSettings
from ledger.store import identity
from ledger.store.archive import table
from ledger.store.commit import CHANNEL
from ledger.working_state import sinks, watch_list_record
from ledger.working_state.sinks import SinkCheckpoint, SinkRow
from projections.queries import history

record = APIRouter(tags=["sinks"], dependencies=[Depends(require("audit"))], responses=responses.PROBLEMS)
orders = APIRouter(tags=["sinks"], dependencies=[Depends(require("admin"))], responses=responses.PROBLEMS)

NO_SINK: responses.Responses = {404: responses.problem("No such sink")}
NEW_SINK: responses.Responses = {
    409: responses.problem("No instance has led the sinks since it was added to the settings")
}


def _place(value: object) -> object:
    """A position, or an instant as text."""
    if isinstance(value, str):
        try:
            parse_timestamp(value)
        except ValueError as error:
            raise ValueError(f"neither a position nor an instant: {error}") from error
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError("neither a position (a number from 0) nor an instant")
    return value


class ReplayQuery(BaseModel):
    """From where on everything is to be told again: a position, 0 for everybody, or an instant."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"from": 4711}]})

    from_: Annotated[int | str, BeforeValidator(_place), Field(alias="from")]


@record.get("/v1/sinks", summary="The sinks and how they fare", responses=answered(SinkItems))
def list_sinks(request: Request) -> Response:
    """Each sink of the settings: up to where it has been told, its last success and error. `lag_events`: positions."""
    refuse_parameters(request)
    services = get_services(request)
    with services.ledger.connection() as connection:
        rows = sinks.read(connection)
        head = history.head(connection).position
    return as_json(SinkItems([view(each, rows.get(each.name), head) for each in services.settings.sinks]))


@orders.post(
    "/v1/sinks/{name}/pause",
    summary="Tell a sink nothing for a while",
    responses=answered(SinkBody) | NO_SINK | NEW_SINK,
)
def pause_sink(request: Request, name: str) -> Response:
    """Until it is resumed; then it is told what has changed meanwhile, of each user the last."""
    services = get_services(request)
    now = services.clock.now()
    return _ordered(request, name, lambda connection: sinks.pause(connection, name, now))


@orders.post("/v1/sinks/{name}/resume", summary="Go on with a sink", responses=answered(SinkBody) | NO_SINK | NEW_SINK)
def resume_sink(request: Request, name: str) -> Response:
    """One that was paused, or whose receiver wanted no more (410); one that fails is tried again at once."""
    return _ordered(request, name, lambda connection: sinks.resume(connection, name))


@orders.post(
    "/v1/sinks/{name}/replay",
    summary="Tell a sink again",
    responses=answered(SinkBody)
    | NO_SINK
    | NEW_SINK
    | questions.REFUSED
    | responses.refused("`from` is beyond the head or in the future", "the body is not JSON in UTF-8"),
    openapi_extra=questions.described(ReplayQuery),
)
async def replay_sink(request: Request, name: str) -> Response:
    """From a position or an instant on: of each user the last, or each change where the sink tells `every`."""
    refuse_parameters(request)
    services = get_services(request)
    _of_settings(services, name)
    asked = await questions.take(ReplayQuery, request, questions.SMALL_BYTES, "name a position or an instant")
    if asked is None:
        raise invalid("body", 'name the place as in {"from": 4711}')
    place, now = asked.from_, services.clock.now()

    def replay(connection: Connection[TupleRow]) -> bool:
        with connection.transaction():
            return sinks.replay(connection, name, _checkpoint(connection, place, now))

    return await asyncio.to_thread(_ordered, request, name, replay)


def view(sink: SinkSettings, row: SinkRow | None, head: int) -> SinkBody:
    """A sink as the API shows it."""
    failed = row is not None and row.last_error_at is not None
    return SinkBody(
        name=sink.name,
        kind=sink.kind,
        list=sink.list,
        state=_state(row),
        position=row.checkpoint.position if row else 0,
        lag_events=max(0, head - row.checkpoint.position) if row else 0,
        told=row.told if row else 0,
        failures=row.failures if row else 0,
        last_success_at=optional(row.last_success_at) if row else None,
        last_error=SinkErrorBody(to_text(row.last_error_at or 0), row.last_error or "") if row and failed else None,
        failing_since=optional(row.failing_since) if row else None,
        paused_at=optional(row.paused_at) if row else None,
        stopped_at=optional(row.stopped_at) if row else None,
    )


def _state(row: SinkRow | None) -> SinkState:
    if row is None:
        return "new"
    if row.stopped_at is not None:
        return "stopped"
    if row.paused_at is not None:
        return "paused"
    return "failing" if row.failing_since is not None else "following"


def _of_settings(services: Services, name: str) -> SinkSettings:
    sink = next((each for each in services.settings.sinks if each.name == name), None)
    if sink is None:
        raise Problem(404, "no such sink")
    return sink


def _ordered(request: Request, name: str, order: Callable[[Connection[TupleRow]], bool]) -> Response:
    """What becomes of a sink by an order."""
    refuse_parameters(request)
    services = get_services(request)
    sink = _of_settings(services, name)
    with services.ledger.connection() as connection:
        if not order(connection):
            raise Problem(409, f"no instance has led the sinks since '{name}' was added to the settings")
        connection.execute(f"NOTIFY {CHANNEL}".encode())
        row = sinks.read(connection).get(name)
        return as_json(view(sink, row, history.head(connection).position))


def _checkpoint(connection: Connection[TupleRow], place: int | str, now: Instant) -> SinkCheckpoint:
    """As far as a sink had been told that stood there. Raises the problem of a place that is to come."""
    head = history.head(connection)
    if isinstance(place, int):
        position = place
        at = history.recorded_at(connection, position) or 0
    else:
        at = from_datetime(parse_timestamp(place))
        if at > max(now, head.recorded_at):
            raise invalid("from", f"in the future: it is {to_text(max(now, head.recorded_at))}")
        position = history.position_at(connection, at)
    if position > head.position:
        raise invalid("from", f"beyond the head of the ledger, which is {head.position}")
    if 0 < position < (before := table.before(connection)) - 1:
        raise invalid("from", f"archived: name a position from {before - 1} on, or 0 for everybody as they are now")
    # From the very beginning everybody is told of as they are; what the sources were by then is nothing to it.
    rules_position = min(position, head.rules_position) if position else head.rules_position
    return SinkCheckpoint(
        identity.epoch(connection), position, rules_position, watch_list_record.head(connection), at or now
    )
