"""The commands `projections` and `rebuild`: how far the read models are, and rebuilding them."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from psycopg import Connection

from ledger.archive_folder import Folder
from ledger.cli import progress
from ledger.cli.access import connected_to, started_database_url
from ledger.cli.drawing import print_table
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, print_json, say
from ledger.errors import LedgerError
from ledger.store.commit import CHANNEL
from ledger.text import counted, printable
from projections.engine import checkpoints, rebuild
from projections.engine.checkpoints import INLINE, Checkpoint
from projections.engine.rebuild import Rebuild
from projections.models.rebuild_current import Compared, RebuildCurrent
from projections.models.registry import AFTER_FILLING, FOLLOWING

KNOWN = (INLINE, *FOLLOWING)


class NothingToSkip(LedgerError):
    """The projection is not stopped at that event."""


def projections(
    context: typer.Context,
    skip: Annotated[
        tuple[str, int] | None,
        typer.Option(metavar="PROJECTION POSITION", help="Skip the event at which a projection has stopped."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how far each projection has followed the ledger, and where and why one has stopped.

    What is skipped is on record; the projector then goes on without that event. An embedded database that does not run
    is started for the duration.

    Example: presence-ledger projections --skip sessions 4711
    """
    with started_database_url(settings_from(context)) as url, connected_to(url) as connection:
        if skip is not None:
            _skip(connection, *skip)
        found = checkpoints.read(connection)
    if as_json:
        print_json({"items": [_view(each) for each in found]})
    else:
        print_table(("projection", "state", "checkpoint", "lag", "stopped at", "because of"), map(_row, found))


def rebuild_projections(
    context: typer.Context,
    names: Annotated[
        list[str], typer.Argument(metavar="PROJECTION", help=f"Which ones: {', '.join(KNOWN)}.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Rebuild projections from the ledger alongside the live ones, then switch to them.

    Reads go on all the time. `current` is compared with the live rows, row by row, before it replaces them. An embedded
    database that does not run is started for the duration.

    Example: presence-ledger rebuild sessions drift
    """
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in KNOWN:
            raise typer.BadParameter(f"unknown projection '{name}'; choose from {', '.join(KNOWN)}")
    settings = settings_from(context)
    with started_database_url(settings) as url, connected_to(url):
        done = [_rebuilt(url, name, settings.archive_dir) for name in wanted]
    if as_json:
        print_json({"items": done})


def _skip(connection: Connection[Any], name: str, position: int) -> None:
    if name not in FOLLOWING:
        raise typer.BadParameter(f"no projection named '{name}' can be stopped; choose from {', '.join(FOLLOWING)}")
    with connection.transaction():
        cursor = connection.cursor()
        place = checkpoints.hold(cursor, name)
        stopped = None if place is None else place.stopped_position
        if stopped != position:
            where = "is not stopped" if stopped is None else f"is stopped at position {stopped}"
            raise NothingToSkip(
                f"'{name}' {where}, so there is nothing to skip at position {position}.\n"
                "Only the event that it is stopped at can be skipped: `presence-ledger projections` shows it."
            )
        checkpoints.skip(cursor, name)
        cursor.execute(f"NOTIFY {CHANNEL}")
    say(f"{name} goes on without the event at position {position}")


def _rebuilt(url: str, name: str, archive: Folder) -> dict[str, Any]:
    def waiting(holders: str) -> None:
        say(f"{name}: complete; it replaces the live one once that is no longer held by {printable(holders)}")

    with rebuild.alone(url, name) as connection, progress.shown(f"rebuilding {name}") as told:
        if name == INLINE:
            return _compared(RebuildCurrent(connection, url, archive).run(told, waiting))
        position = Rebuild(connection, url, FOLLOWING[name], archive=archive, also=AFTER_FILLING.get(name)).run(
            told, waiting
        )
    say(f"{name}: rebuilt as of position {position}")
    return {"projection": name, "position": position}


def _compared(compared: Compared) -> dict[str, Any]:
    if compared.different:
        first, users = ", ".join(compared.uids), counted(compared.different, "user")
        say(
            f"{INLINE}: rebuilt; as of position {compared.position} the live rows of {users} were "
            f"not what the ledger says, and have been replaced; the first of them: {printable(first)}"
        )
    else:
        say(f"{INLINE}: rebuilt; as of position {compared.position} every row was identical to the live one")
    different = {"different": compared.different, "uids": list(compared.uids)}
    return {"projection": INLINE, "position": compared.position, **different}


def _view(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "projection": checkpoint.name,
        "state": checkpoint.state,
        "position": checkpoint.position,
        "lag": checkpoint.lag,
        "stopped_position": checkpoint.stopped_position,
        "stopped_reason": checkpoint.stopped_reason,
        "updated_at": checkpoint.updated_at and checkpoint.updated_at.isoformat(),
    }


def _row(checkpoint: Checkpoint) -> Sequence[object]:
    return (
        checkpoint.name,
        checkpoint.state,
        checkpoint.position,
        checkpoint.lag,
        checkpoint.stopped_position,
        checkpoint.stopped_reason,
    )
