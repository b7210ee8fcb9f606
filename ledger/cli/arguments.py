"""Arguments that several commands take, checked before anything is asked: uids, instants and spans of time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer

from ledger.cli.times import parse
from ledger.domain.instants import from_datetime, to_text


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
        "--from", metavar="INSTANT", help="Only what was recorded from then on: 14:03, -2h, 2026-11-29T14:03 …"
    ),
]
Until = Annotated[str | None, typer.Option("--to", metavar="INSTANT", help="Only what was recorded before then.")]


def parse_instant(text: str | None, option: str, *, is_past: bool = False) -> datetime | None:
    """Returns the instant that an option names, in UTC. Raises typer.BadParameter."""
    if text is None:
        return None
    try:
        return parse(text, is_past=is_past)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is {error}", param_hint=f"'{option}'") from error


def parse_span(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """Returns the instants that --from and --to name. Raises typer.BadParameter."""
    begin, end = parse_instant(since, "--from", is_past=True), parse_instant(until, "--to")
    if begin is not None and end is not None and end <= begin:
        raise typer.BadParameter("is not after --from", param_hint="'--to'")
    return begin, end


def span_query(begin: datetime | None, end: datetime | None) -> dict[str, str]:
    """Returns a span of time as the API's `from` and `to`."""
    return {name: in_api(at) for name, at in (("from", begin), ("to", end)) if at is not None}


def in_api(at: datetime) -> str:
    """Returns an instant as the API takes it."""
    return to_text(from_datetime(at))
