"""What several commands are given, checked before anybody is asked: uids, instants and spans of time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from ledger.http.instants import At

_at = TypeAdapter(At).validate_python


def _with_a_character(given: str | Sequence[str]) -> str | Sequence[str]:
    if "" in ([given] if isinstance(given, str) else given):
        raise typer.BadParameter("a uid has at least one character")
    return given


Uid = Annotated[str, typer.Argument(metavar="UID", help="The user.", callback=_with_a_character)]
Uids = Annotated[
    list[str], typer.Argument(metavar="UID...", help="The users to ask about.", callback=_with_a_character)
]


def parse_instant(text: str | None, option: str) -> datetime | None:
    """Returns the instant that an option names. Raises typer.BadParameter."""
    if text is None:
        return None
    try:
        at: datetime = _at(text)
    except ValidationError as error:
        raise typer.BadParameter(
            f"{text!r} is no instant of RFC 3339, like 2026-11-23T14:03:00Z", param_hint=f"'{option}'"
        ) from error
    return at


def parse_span(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """Returns the instants that --from and --to name. Raises typer.BadParameter."""
    begin, end = parse_instant(since, "--from"), parse_instant(until, "--to")
    if begin is not None and end is not None and end <= begin:
        raise typer.BadParameter("is not after --from", param_hint="'--to'")
    return begin, end
