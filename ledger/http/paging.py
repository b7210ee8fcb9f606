"""Keyset pages: a cursor that holds the last key of a page, opaque to clients."""

import base64
from typing import Annotated

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict

from ledger.http.problems import Problem, invalid

MAX_LIMIT = 10_000

After = Annotated[str | None, Query(min_length=1, description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="items of a page")]


class PageQuery(BaseModel):
    """The query of a list; a name that is not one of its fields is refused."""

    model_config = ConfigDict(extra="forbid")

    after: After = None
    limit: Limit = 100


def refuse_parameters(request: Request) -> None:
    """For a route that takes none: raises the problem that names the first; what is asked for must not be ignored."""
    for name in request.query_params:
        raise invalid(name, "this route has no such parameter")


def to_cursor(key: str) -> str:
    """The cursor after that key."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def from_cursor(cursor: str | None) -> str | None:
    """The key of a cursor. Raises the problem that names `after`."""
    if cursor is None:
        return None
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except ValueError as error:  # not ASCII, no base64 (binascii.Error), not UTF-8 (UnicodeError)
        raise bad_cursor() from error


def number_from_cursor(cursor: str | None) -> int | None:
    """The position or version that a list goes on after, in digits, so that a reader of the ledger can name it."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit()) or len(cursor) > 18:
        raise bad_cursor()
    return int(cursor)


def bad_cursor() -> Problem:
    """The problem of a cursor that this list never gave."""
    return invalid("after", "not a cursor of this list; take it from `next` of the page before")
