"""The command `keys`: makes, lists and revokes API keys, in the database itself."""

from typing import Annotated

import typer

from ledger.cli.access import connected
from ledger.cli.drawing import print_table
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, print_json, print_line, say
from ledger.cli.times import in_full
from ledger.store import api_keys, stream_tokens

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Make, list and revoke API keys. Example: presence-ledger keys create app --scope read",
)

KeyName = Annotated[str, typer.Argument(metavar="NAME", help="The key's name: who or what uses it.")]


@app.command()
def create(
    context: typer.Context,
    name: KeyName,
    scope: Annotated[
        str,
        typer.Option(metavar="SCOPES", help="read, watch, audit or admin: watch and audit include read, admin all."),
    ] = "read",
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this one time.

    Example: presence-ledger keys create support --scope audit
    """
    scopes = [part.strip() for part in scope.split(",") if part.strip()]
    with connected(settings_from(context)) as connection:
        key = api_keys.create(connection, name, scopes)
    if as_json:
        print_json({"name": name, "scopes": scopes, "key": key})
        return
    print_line(key)
    say("Keep it: only its hash is stored, so it cannot be shown again. Send it as `Authorization: Bearer KEY`.")


@app.command("list")
def list_keys(context: typer.Context, as_json: AsJson = False) -> None:
    """List the keys, the revoked ones too.

    Example: presence-ledger keys list
    """
    with connected(settings_from(context)) as connection:
        keys = api_keys.list_keys(connection)
    if as_json:
        print_json([_as_json(key) for key in keys])
    else:
        columns = ("name", "scopes", "created at", "revoked at")
        print_table(columns, [(key.name, key.scopes, key.created_at, key.revoked_at) for key in keys])


@app.command()
def revoke(context: typer.Context, name: KeyName) -> None:
    """Refuse a key from now on.

    Example: presence-ledger keys revoke support
    """
    with connected(settings_from(context)) as connection:
        revoked_at = api_keys.revoke(connection, name)
    say(f"{name} has been revoked since {in_full(revoked_at)}")


@app.command("revoke-tokens")
def revoke_tokens(context: typer.Context) -> None:
    """Refuse all stream tokens made so far, and end their streams.

    Example: presence-ledger keys revoke-tokens
    """
    with connected(settings_from(context)) as connection:
        stream_tokens.revoke_all(connection)
    say("all tokens made so far are refused; the app makes new ones with its key")


def _as_json(key: api_keys.ApiKey) -> dict[str, object]:
    return {
        "name": key.name,
        "scopes": list(key.scopes),
        "created_at": key.created_at.isoformat(),
        "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
    }
