"""The bodies that requests bring: their shapes, by which they are checked and described."""

from typing import Annotated, Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ledger.domain.observation import MAX_UID_BYTES
from ledger.domain.reconciled import Tier
from ledger.http.instants import AT_POSITION, Position, When
from projections.current import can_be_stored

MAX_UIDS = 10_000


def uid_problem(uid: str) -> str | None:
    """Why nobody can have that uid, if so."""
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
    """Whom to ask about, and for which instant."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"uids": ["u100", "bob"]}]})

    uids: Annotated[list[str], Field(max_length=MAX_UIDS)]
    # A query has text alone; in a body, true and "1" are no numbers.
    position: Annotated[Annotated[Position, Field(strict=True)] | None, Field(description=AT_POSITION)] = None


class RunQuery(BaseModel):
    """Whom to look at now; without `uids`, everybody."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"uids": ["u100", "bob"]}]})

    uids: (
        Annotated[list[Annotated[str, AfterValidator(_possible)]], Field(min_length=1, max_length=MAX_UIDS)] | None
    ) = None


class TierQuery(BaseModel):
    """How soon a user is to be looked at again; null leaves it to the rules."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"tier": "vip"}]})

    tier: Tier | None


Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], body: bytes) -> Model:
    """A body as its model. Raises RequestValidationError, which names the fields.

    Here and not by FastAPI, which would read a body of any size before it looks for a key.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in errors]) from error


def body_of(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """What `parse` reads, as a route's `openapi_extra`."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": required, "content": content}}
