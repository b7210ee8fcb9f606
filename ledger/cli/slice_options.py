"""What `export` and `replay` have in common: which part of the ledger, and the snapshot that it is read in."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from ledger.cli.access import connected_to, started_database_url
from ledger.cli.progress import shown
from ledger.http.instants import At
from ledger.settings import Settings
from ledger.slices.form import Slice
from ledger.slices.taking import Wanted, taken
from ledger.store.mapper import EventMapper

Users = Annotated[
    list[str] | None, typer.Option("--user", metavar="UID", help="Of this user alone; may be given several times.")
]
Since = Annotated[
    str | None,
    typer.Option("--from", metavar="INSTANT", help="What was recorded from here on, like 2026-11-23T14:03:00Z."),
]
Until = Annotated[str | None, typer.Option("--to", metavar="INSTANT", help="What was recorded before this.")]

_at = TypeAdapter(At).validate_python


def instant_of(text: str | None, option: str) -> datetime | None:
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


def wanted_of(users: Sequence[str] | None, since: str | None, until: str | None) -> Wanted:
    """Returns the part of the ledger that the options name. Raises typer.BadParameter."""
    begin, end = instant_of(since, "--from"), instant_of(until, "--to")
    if begin is not None and end is not None and end <= begin:
        raise typer.BadParameter("is not after --from", param_hint="'--to'")
    return Wanted(tuple(users) if users else None, begin, end)


@contextmanager
def slice_of_ledger(settings: Settings, wanted: Wanted, mapper: EventMapper, what: str) -> Iterator[Slice]:
    """Yields the slice of the ledger in use, which shows how far its reading is. Raises LedgerError."""
    with (
        started_database_url(settings) as url,
        connected_to(url) as connection,
        shown(what, "positions") as progress,
        taken(connection, mapper, wanted, progress) as found,
    ):
        yield found
