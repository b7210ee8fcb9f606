"""The command `export`: writes a slice of the ledger to a file, with the users' names or without."""

from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.arguments import Since, Until
from ledger.cli.invocation import settings_from
from ledger.cli.output import say
from ledger.cli.slice_options import Users, parse_selection, slice_of_ledger
from ledger.settings import Settings
from ledger.slices import writing
from ledger.slices.pseudonymising import pseudonymised
from ledger.slices.pseudonyms import KEY_FILE, Pseudonyms, new_key
from ledger.store.data_folder import DataFolder
from ledger.store.mapper import EventMapper
from ledger.text import counted


def export(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file to write; gzip if it ends in .gz; - is standard output.")
    ],
    *,
    users: Users = None,
    since: Since = None,
    until: Until = None,
    pseudonymise: Annotated[
        bool,
        typer.Option("--pseudonymise", help="Replace users' names by pseudonyms, whose key only this data folder has."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a slice of the ledger: the states where it begins, and what was recorded after, as NDJSON with checksums.

    The service may run meanwhile. `import` brings a slice into another ledger, `replay` judges it again.

    Example: presence-ledger export --from 2026-11-23T14:00:00Z --to 2026-11-23T15:00:00Z incident.ndjson.gz
    """
    settings, mapper = settings_from(context), EventMapper()
    wanted = parse_selection(users, since, until)
    with (
        writing.opened(file, force=force) as stream,
        slice_of_ledger(settings, wanted, mapper, "exporting") as found,
    ):
        taken = pseudonymised(found, _names(settings), mapper) if pseudonymise else found
        written = writing.write(taken, stream)
    streams = counted(written.states, "stream")
    say(f"{file}: {counted(written.events, 'event')}, and the states of {streams} where they begin")


def _names(settings: Settings) -> Pseudonyms:
    folder = DataFolder(settings.data_dir)
    folder.create()
    return Pseudonyms(folder.secret(KEY_FILE, new_key))
