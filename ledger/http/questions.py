"""The bodies that requests bring: their shapes, by which they are checked and described."""

import re
from itertools import islice
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ledger.domain.observation import MAX_UID_BYTES
from ledger.domain.reconciliation_events import Tier
from ledger.http import bodies, responses
from ledger.http.instants import AT_POSITION, Position, When
from ledger.http.problems import invalid
from ledger.http.schemas import take_model
from ledger.http.state import get_services
from ledger.text import shortened
from projections.models.current import can_be_stored

MAX_UIDS = 10_000


def uid_problem(uid: str) -> str | None:
    """Why no user can have that uid, if so."""
    if not uid:
        return "an empty uid"
    if not can_be_stored(uid):
        return "a uid holds neither NUL nor half a character"
    return f"over {MAX_UID_BYTES} bytes" if len(uid.encode()) > MAX_UID_BYTES else None


def _possible(uid: str) -> str:
    problem = uid_problem(uid)
    if problem is not None:
        raise ValueError(problem)
    return uid


class UidQuery(When):
    """The users to ask about, and for which instant."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"uids": ["u100", "bob"]}]})

    uids: Annotated[list[str], Field(max_length=MAX_UIDS)]
    # A query has text alone; in a body, true and "1" are not numbers.
    position: Annotated[Annotated[Position, Field(strict=True)] | None, Field(description=AT_POSITION)] = None


class ReachQuery(BaseModel):
    """The users who may have to be notified."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"uids": ["u100", "bob"]}]})

    uids: Annotated[list[str], Field(max_length=MAX_UIDS)]


class RunQuery(BaseModel):
    """The users to look at now; without `uids`, all of them."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"uids": ["u100", "bob"]}]})

    uids: (
        Annotated[list[Annotated[str, AfterValidator(_possible)]], Field(min_length=1, max_length=MAX_UIDS)] | None
    ) = None


class TierQuery(BaseModel):
    """How soon a user is to be looked at again; null leaves it to the rules."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"tier": "vip"}]})

    tier: Tier | None


REFUSED: responses.Responses = {
    400: responses.problem("The body was cut off, or is not the gzip that its `Content-Encoding` says"),
    408: responses.problem("The body took too long"),
    413: responses.problem("The body is larger than the route's largest question, or than `max_body_bytes`"),
    415: responses.problem("A `Content-Encoding` other than gzip"),
}
"""What becomes of bodies that cannot be read."""

Model = TypeVar("Model", bound=BaseModel)

SMALL_BYTES = 65_536
"""Whatever a body of this size holds, to read it whole and to name what is wrong costs little."""
UIDS_BYTES = MAX_UIDS * (3 * MAX_UID_BYTES + len('"", ')) + SMALL_BYTES
"""The longest list of uids, each character of them escaped: two bytes of UTF-8 are six then."""
MAX_SCALAR_BYTES = 128
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
"""A string of JSON, or one that is not closed. It matches wherever it begins, so that nothing is looked at twice."""
_BEGINS_WITH_UIDS = re.compile(rb'\s*\{\s*"uids"')


class _Large(msgspec.Struct, forbid_unknown_fields=True):
    """What a large body may hold: many uids, and nothing else that is large."""

    uids: list[str] | None = None
    at: msgspec.Raw = msgspec.Raw()
    known_at: msgspec.Raw = msgspec.Raw()
    position: msgspec.Raw = msgspec.Raw()


_large = msgspec.json.Decoder(_Large)


async def take(model: type[Model], request: Request, bound: int, way_out: str) -> Model | None:
    """A request's body as its model, None where it has none. Raises Problem, RequestValidationError.

    Large bodies are read a few at a time, since anybody with a key may send many of them at once.
    """
    services = get_services(request)
    bound = min(bound, services.settings.max_body_bytes)
    body = await bodies.read(request, bound, way_out, services.large_bodies)
    return parse(model, body) if body.strip() else None


def parse(model: type[Model], body: bytes) -> Model:
    """A body as its model. Raises RequestValidationError, which names the fields, or Problem.

    Here and not by FastAPI, which would read a body of any size before it looks for a key.
    """
    if len(body) > SMALL_BYTES:
        _refuse_bulk(body)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in errors]) from error


def _refuse_bulk(body: bytes) -> None:
    """Raises Problem where a large body is not a list of uids: the model would make a value of each part of it, and an
    error of each field.
    """
    if _has_more_strings(body, MAX_UIDS + len(_Large.__struct_fields__) * 2):
        raise invalid("uids" if _BEGINS_WITH_UIDS.match(body) else "body", f"more than {MAX_UIDS:,} uids")
    try:
        found = _large.decode(body)
    except msgspec.ValidationError as error:
        raise invalid(*_located(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid("body", "not JSON in UTF-8") from error
    for field in ("at", "known_at", "position"):
        if len(bytes(getattr(found, field))) > MAX_SCALAR_BYTES:
            raise invalid(field, "too long")


def _has_more_strings(body: bytes, most: int) -> bool:
    """Whether the JSON holds more strings than so many, found without making one of them."""
    if body.count(b'"') <= 2 * most:
        return False
    return sum(1 for _ in islice(_STRING.finditer(body), most + 1)) > most


def _located(message: str) -> tuple[str, str]:
    """The field and the fault of msgspec's words, as in "Expected `str`, got `int` - at `$.uids[1]`"."""
    fault, _, place = message.partition(" - at `$.")
    field = place.rstrip("`").replace("[", ".").replace("]", "") or "body"
    return field, shortened(fault, MAX_SCALAR_BYTES)


def described(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """What `parse` reads, as a route's `openapi_extra`."""
    content = {"application/json": {"schema": take_model(model)}}
    return {"requestBody": {"required": required, "content": content}}
