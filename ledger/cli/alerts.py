"""The command `alerts`: what is wrong now, since when, what to do; and to say that somebody knows."""

from typing import Annotated

import typer

from ledger.cli.client import Json, client
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, print_json, print_line, print_prose, say
from ledger.cli.queries import Url
from ledger.cli.reader import reader
from ledger.cli.times import in_full
from ledger.cli.words import told, word
from ledger.text import printable

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Show what is wrong now and what to do. Example: presence-ledger alerts --all",
)


@app.callback(invoke_without_command=True)
def alerts(
    context: typer.Context,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show what is wrong now, since when, and what to do; with --all what was, too.

    Example: presence-ledger alerts --all
    """
    if context.invoked_subcommand is not None:
        return
    with client(settings_from(context), url) as service:
        found = list(service.alerts()) if everything else service.alerts_on()
    if as_json:
        print_json({"items": found})
        return
    if not found:
        print_prose(told("no alert"))
    for number, alert in enumerate(found):
        if number:
            print_line()
        _print(alert)


@app.command()
def acknowledge(
    context: typer.Context,
    alert: Annotated[str, typer.Argument(metavar="ID", help="The alert, as `alerts` shows it.")],
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Say that somebody knows of an alert and sees to it: it stays on until it is over.

    Example: presence-ledger alerts acknowledge 5f0c2a9e61d4b7c8
    """
    with client(settings_from(context), url) as service:
        found = service.acknowledge_alert(alert)
    if as_json:
        print_json(found)
        return
    say(told("{id}: acknowledged by {by}", id=found["id"], by=printable(found["acknowledged_by"])))


def _print(alert: Json) -> None:
    """An alert in some lines: how severe, what, since when; then in words, and what to do."""
    print_prose(f"{word(alert['severity'])}  {alert['name']}  {_state(alert)}")
    for text in (alert["summary"], alert.get("cost"), alert["way_out"]):
        if text is not None:
            print_prose(f"  {text[reader().language]}")
    print_prose(f"  {alert['id']}  {alert['runbook']}")


def _state(alert: Json) -> str:
    since = told("since {at}", at=in_full(alert["since"]))
    if alert["state"] == "resolved":
        return f"{since}, {told('over at {at}', at=in_full(alert['ended_at']))}"
    if alert["state"] == "acknowledged":
        return f"{since}, {told('acknowledged by {by}', by=printable(alert['acknowledged_by']))}"
    return since
