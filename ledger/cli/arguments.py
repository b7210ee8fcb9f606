"""Arguments that several commands take, checked before anything is asked: uids, instants and spans of time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer

from ledger.domain.instants import parse_timestamp


def _with_a_character(given: str | Sequence[str]) -> str | Sequence[str]:
    if "" in ([given] if isinstance(given, str) else given):
        raise typer.BadParameter("a uid has at least one character")
    return given


Uid = Annotated[str, typer.Argument(metavar="UID", help="The user.", callback=_with_a_character)]
Uids = Annotated[
    list[str], typer.Argument(metavar="UID...", help="The users to ask about.", callback=_with_a_character)
]
Since = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="INSTANT", help="Only what was recorded from then on, such as 2026-11-23T14:03:00Z."
    ),
]
Until = Annotated[str | None, typer.Option("--to", metavar="INSTANT", help="Only what was recorded before then.")]


def parse_instant(text: str | None, option: str) -> datetime | None:
    """Returns the instant that an option names. Raises typer.BadParameter."""
    if text is None:
        return None
    try:
        return parse_timestamp(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is {error}", param_hint=f"'{option}'") from error


def parse_span(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """Returns the instants that --from and --to name. Raises typer.BadParameter."""
    begin, end = parse_instant(since, "--from"), parse_instant(until, "--to")
    if begin is not None and end is not None and end <= begin:
        raise typer.BadParameter("is not after --from", param_hint="'--to'")
    return begin, end
