"""What `export` and `replay` have in common: which part of the ledger, and the snapshot that it is read in."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from psycopg import Connection

from ledger.cli import near
from ledger.cli.access import connected_to, started_database_url
from ledger.cli.arguments import parse_span
from ledger.cli.output import say
from ledger.cli.progress import shown
from ledger.settings import Settings
from ledger.slices.archived import ArchivePlace
from ledger.slices.form import Slice
from ledger.slices.share import MAX_SHARES
from ledger.slices.taking import SliceScope, open_slice
from ledger.store.mapper import EventMapper
from ledger.text import printable
from projections.models import current

MAX_NEAR = 5000
"""Uids that are looked up at most, for those which may have been meant."""

Users = Annotated[
    list[str] | None, typer.Option("--user", metavar="UID", help="Only of this user; may be given several times.")
]

PolicyNumbers = Annotated[
    list[str] | None, typer.Option("--policy", metavar="NAME=VALUE", help="Change a number of the policy.")
]
StopAt = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="SECOND|INSTANT",
        help="Stop after this second of a recording; of anything else, at this instant.",
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MAX_SHARES,
        metavar="N",
        help="Judge the ledger in so many processes; else as many as there are cores, and as it is worth.",
    ),
]
Summary = Annotated[
    bool, typer.Option("--summary", help="Of each user only for how long they differ: memory stays small over months.")
]


def parse_selection(users: Sequence[str] | None, since: str | None, until: str | None) -> SliceScope:
    """Returns the part of the ledger that the options name. Raises typer.BadParameter."""
    return SliceScope(tuple(users) if users else None, *parse_span(since, until))


@contextmanager
def _missing_users_reported(connection: Connection[Any], scope: SliceScope) -> Iterator[None]:
    """Says at the end which of the chosen users were never seen: a misspelt name would not show otherwise."""
    yield
    chosen = list(dict.fromkeys(scope.users or ()))
    seen = current.load(connection, [uid for uid in chosen if current.can_be_stored(uid)])
    missing = {uid: near.near(uid) for uid in chosen if uid not in seen}
    for uid in missing:
        say(f"the ledger has no event of {printable(uid)}")
    others = list(dict.fromkeys(each for forms in missing.values() for each in forms if current.can_be_stored(each)))
    there = current.load(connection, others[:MAX_NEAR])
    near.say_near({uid: [each for each in forms if each in there] for uid, forms in missing.items()})


@contextmanager
def slice_of_ledger(settings: Settings, scope: SliceScope, mapper: EventMapper, what: str) -> Iterator[Slice]:
    """Yields the slice of the ledger in use, which shows how far its reading is. Raises LedgerError."""
    with (
        started_database_url(settings) as url,
        connected_to(url) as connection,
        _missing_users_reported(connection, scope),
        shown(what, "positions") as progress,
        open_slice(connection, mapper, scope, progress, ArchivePlace(url, settings.archive_dir)) as found,
    ):
        yield found
