"""The command `lists`: the watch lists, and who is on one."""

from typing import Annotated

import typer

from ledger.cli.client import client
from ledger.cli.drawing import print_table
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, print_json, print_line, say
from ledger.cli.queries import Url
from ledger.cli.times import header, in_full, shown
from ledger.text import counted, visible

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Show the watch lists. Example: presence-ledger lists show friends",
)


@app.callback(invoke_without_command=True)
def lists(context: typer.Context, as_json: AsJson = False, url: Url = None) -> None:
    """Show the watch lists, how many are on each, and when and by which key it was changed last.

    Example: presence-ledger lists
    """
    if context.invoked_subcommand is not None:
        return
    with client(settings_from(context), url) as service:
        found = list(service.watch_lists())
    if as_json:
        print_json({"items": found})
        return
    rows = [
        (
            each["name"],
            each["counts"]["uids"],
            each["counts"]["watchers"],
            shown(each["changed_at"]),
            each["changed_by"],
        )
        for each in found
    ]
    print_table(("list", "users", "watchers", header("changed at"), "by"), rows)


@app.command()
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The list's name.")],
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show who is on a list, and who is told when one of them changes.

    Example: presence-ledger lists show friends
    """
    with client(settings_from(context), url) as service:
        found = service.watch_list(name)
    if as_json:
        print_json(found)
        return
    users, watchers = counted(len(found["uids"]), "user"), counted(len(found["watchers"]), "watcher")
    say(f"{visible(name)}: {users}, {watchers}; changed at {in_full(found['changed_at'])} by {found['changed_by']}")
    for uid in found["uids"]:
        print_line(visible(uid))
    for uid in found["watchers"]:
        print_line(f"{visible(uid)} (watcher)")
