"""The command `migrate`: brings the schema up to date, or shows its state."""

from typing import Annotated

import typer

from ledger.cli.access import database_url, started_database_url
from ledger.cli.drawing import print_table
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, print_json, say
from ledger.cli.words import told
from ledger.store import distribution
from ledger.store import migrate as migrations


def migrate(
    context: typer.Context,
    status: Annotated[bool, typer.Option("--status", help="Change nothing; list the migrations.")] = False,
    distribute: Annotated[
        bool, typer.Option("--distribute", help="Then spread the ledger over the workers of its Citus cluster.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the database's schema up to date; `serve` does the same when it starts.

    An embedded database that does not run is started for the duration; --status needs it running.

    With --distribute, database_url names the coordinator of a Citus cluster that has workers: what grows with time is
    spread over them, events by their stream and read models by their user, once and for good. Stop the service before.

    Example: presence-ledger migrate --status
    Example: presence-ledger migrate --distribute
    """
    settings = settings_from(context)
    if status and distribute:
        raise typer.BadParameter("--status changes nothing: give it or --distribute.")
    if status:
        _show_status(database_url(settings), as_json=as_json)
        return
    with started_database_url(settings) as url:
        migrations.check(url)
        applied = [str(migration) for migration in migrations.apply(url)]
        spread = distribution.distribute(url) if distribute else None
    if as_json:
        print_json({"applied": applied} | ({} if spread is None else {"distributed": spread}))
        return
    say(f"applied {', '.join(applied)}" if applied else "the schema is up to date")
    if spread is not None:
        tables = ", ".join(spread)
        say(told("distributed {tables}", tables=tables) if spread else told("the ledger is distributed already"))


def _show_status(url: str, *, as_json: bool) -> None:
    listed = [(str(migration), applied_at) for migration, applied_at in migrations.status(url)]
    if as_json:
        instants = {name: applied_at and applied_at.isoformat() for name, applied_at in listed}
        print_json([{"migration": name, "applied_at": instant} for name, instant in instants.items()])
    else:
        print_table(("migration", "applied at"), listed)
