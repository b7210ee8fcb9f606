"""The bodies of requests about lists and tokens: many names, checked one by one; the fields at fault are told."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Request
from msgspec import Meta, Struct

from ledger.domain.observation import MAX_UID_BYTES
from ledger.http import bodies
from ledger.http.grants import MAX_EXPIRES_SECONDS
from ledger.http.problems import invalid
from ledger.http.questions import uid_problem
from ledger.http.schemas import take_struct
from ledger.http.state import get_services
from ledger.text import shortened
from ledger.working_state.watch_list_changes import MAX_MEMBERS, MAX_NAME_CHARACTERS, MAX_WATCHERS
from projections.models.current import can_be_stored

MAX_BODY_BYTES = (MAX_MEMBERS + MAX_WATCHERS) * 2 * (MAX_UID_BYTES + 4)
"""A list and a patch of the longest uids that are written plainly; `max_body_bytes` is less by default."""

MAX_FAULT_CHARACTERS = 200

Body = TypeVar("Body", bound=Struct)


MAX_TOKEN_UIDS = 1_000
"""As many as an address may name."""


def _described(**bounds: int) -> Meta:
    """Bounds for the description alone: what is beyond them is refused in words of our own."""
    return Meta(extra_json_schema=bounds)


class ListOrder(Struct, forbid_unknown_fields=True):
    """Who is to be on a list, and who is told when one of them changes."""

    uids: list[str]
    watchers: list[str] = []


class PatchOrder(Struct, forbid_unknown_fields=True):
    """Who is to come to a list, and who is to leave it."""

    add: list[str] = []
    remove: list[str] = []
    add_watchers: list[str] = []
    remove_watchers: list[str] = []


class TokenOrder(Struct, forbid_unknown_fields=True):
    """Whose presence a token is for, some users' or a list's, and for how long."""

    uids: Annotated[list[str], _described(minItems=1, maxItems=MAX_TOKEN_UIDS)] | None = None
    list: Annotated[str, _described(minLength=1, maxLength=MAX_NAME_CHARACTERS)] | None = None
    expires_seconds: Annotated[int, _described(minimum=1, maximum=MAX_EXPIRES_SECONDS)] = 3600


async def take(kind: type[Body], request: Request) -> Body:
    """A request's body of that kind. Raises Problem."""
    services = get_services(request)
    bound = min(MAX_BODY_BYTES, services.settings.max_body_bytes)
    body = await bodies.read(request, bound, "change the list in parts", services.large_bodies)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise invalid(*_located(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid("body", "not JSON in UTF-8") from error


def check_uids(field: str, uids: Sequence[str], most: int) -> None:
    """Raises Problem, 422, where they are too many, or one of them is nobody's uid."""
    if len(uids) > most:
        raise invalid(field, f"{len(uids)} users; at most {most}")
    for number, uid in enumerate(uids):
        if (problem := uid_problem(uid)) is not None:
            raise invalid(f"{field}.{number}", problem)


def check_name(field: str, name: str) -> None:
    """Raises Problem, 422, where no list can have that name."""
    if not 0 < len(name) <= MAX_NAME_CHARACTERS:
        raise invalid(field, f"{len(name)} characters; a list's name has 1 to {MAX_NAME_CHARACTERS}")
    if not can_be_stored(name):
        raise invalid(field, "holds NUL or half a character")


def described(kind: type[Struct], example: dict[str, Any]) -> dict[str, Any]:
    """What `take` reads, as a route's `openapi_extra`."""
    content = {"application/json": {"schema": take_struct(kind, example)}}
    return {"requestBody": {"required": True, "content": content}}


def _located(message: str) -> tuple[str, str]:
    """The field and the fault of msgspec's words, as in "Expected `str`, got `int` - at `$.uids[1]`"."""
    fault, _, place = message.partition(" - at `$")
    field = place.rstrip("`").lstrip(".").replace("[", ".").replace("]", "")
    if not field and "field `" in fault:
        field = fault.partition("field `")[2].partition("`")[0]
    return field or "body", shortened(fault, MAX_FAULT_CHARACTERS)
