"""The command `import`: brings a slice of another ledger into this one, all of it or nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from ledger.cli.access import connected_to, started_database_url
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, print_json, print_line
from ledger.cli.progress import shown
from ledger.settings import Settings, sealing_key
from ledger.settings.values import Name
from ledger.slices.importing import Imported, import_slice
from ledger.slices.reading import SliceFile
from ledger.store import migrate, shared_secrets
from ledger.store.data_folder import DataFolder
from ledger.store.ledger import Ledger
from ledger.store.seal import SealKey
from ledger.text import counted

_name = TypeAdapter(Name).validate_python


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The slice, as `export` wrote it.", show_default=False)],
    *,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="OLD=NEW", help="Rename a source of the slice."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a slice into the ledger: its events, and the states where it begins. All of it is checked before.

    Into an empty ledger it comes with its positions, into another one above its head; it keeps its instants unless the
    ledger has later ones or they are still to come. The database is brought up to date first. Importing a slice again
    changes nothing.

    Example: presence-ledger import incident.ndjson.gz --source main=incident
    """
    settings = settings_from(context)
    renames = _renames(source or ())
    slice_file = SliceFile(file)
    with started_database_url(settings) as url:
        migrate.check(url)
        migrate.apply(url)
        ledger = Ledger(url, SealKey(_key(settings, url)), 2)
        try:
            with shown("importing", "lines") as progress:
                imported = import_slice(ledger, slice_file, renames, progress)
        finally:
            ledger.close()
    if as_json:
        print_json(imported._asdict())
    else:
        print_line(f"{file}: {_told(imported)}")


def _renames(assignments: Sequence[str]) -> dict[str, str]:
    renames: dict[str, str] = {}
    for old, new in map(_rename, assignments):
        if renames.setdefault(old, new) != new:
            raise typer.BadParameter(
                f"{old!r} cannot become both {renames[old]!r} and {new!r}: give only one", param_hint="'--source'"
            )
    return renames


def _rename(assignment: str) -> tuple[str, str]:
    old, equals, new = assignment.partition("=")
    if not (old and equals and new):
        raise typer.BadParameter(f"{assignment!r} is not OLD=NEW", param_hint="'--source'")
    try:
        _name(new)
    except ValidationError as error:
        raise typer.BadParameter(f"{new!r} {error.errors()[0]['ctx']['error']}", param_hint="'--source'") from error
    return old, new


def _key(settings: Settings, url: str) -> str:
    folder = DataFolder(settings.data_dir)
    folder.create()
    with connected_to(url) as connection:
        shared_secrets.agree(connection, settings, folder, ())
    return sealing_key(settings, folder.secret)


def _told(imported: Imported) -> str:
    what = f"{counted(imported.events, 'event')} and {counted(imported.states, 'state')}"
    if not imported.events + imported.states:
        return "the slice has no events and no states; nothing was changed"
    if imported.already:
        return f"{what} are already in the ledger; nothing was changed"
    where = f"above its head, from position {imported.first} on" if imported.renumbered else "with their positions"
    when = "; all count as recorded now" if imported.recorded_anew else ""
    return f"{what} imported, {where}{when}"
