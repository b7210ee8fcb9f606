"""The command `sinks`: how those who are told of changes fare; pausing, resuming and replaying one."""

from collections.abc import Sequence
from typing import Annotated

import typer

from ledger.cli.arguments import in_api, parse_instant
from ledger.cli.client import Json, client
from ledger.cli.drawing import print_table
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, print_json, say
from ledger.cli.queries import Url
from ledger.cli.times import header, shown
from ledger.text import counted, visible

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Show the sinks; pause, resume or replay one. Example: presence-ledger sinks replay app --from 4711",
)

SinkName = Annotated[str, typer.Argument(metavar="NAME", help="The sink, as the settings name it.")]


@app.callback(invoke_without_command=True)
def sinks(context: typer.Context, as_json: AsJson = False, url: Url = None) -> None:
    """Show each sink: up to where it has been told, how far it lags, its last success and error.

    Example: presence-ledger sinks
    """
    if context.invoked_subcommand is not None:
        return
    with client(settings_from(context), url) as service:
        found = service.sinks()
    if as_json:
        print_json({"items": found})
        return
    columns = (
        "sink", "kind", "state", "position", "lag", "told", header("last success"), header("last error"), "why"
    )  # fmt: skip
    print_table(columns, [_row(each) for each in found])


@app.command()
def pause(context: typer.Context, name: SinkName, as_json: AsJson = False, url: Url = None) -> None:
    """Tell a sink nothing until it is resumed; then it is told what has changed meanwhile.

    Example: presence-ledger sinks pause app
    """
    _order(context, name, "pause", None, as_json, url)


@app.command()
def resume(context: typer.Context, name: SinkName, as_json: AsJson = False, url: Url = None) -> None:
    """Go on with a sink that was paused, or whose receiver wanted no more; try one that fails at once.

    Example: presence-ledger sinks resume app
    """
    _order(context, name, "resume", None, as_json, url)


@app.command()
def replay(
    context: typer.Context,
    name: SinkName,
    from_: Annotated[
        str, typer.Option("--from", metavar="POSITION|INSTANT", help="A position, 0 for everybody, or an instant.")
    ],
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Tell a sink again what has changed since a position or an instant: of each user the last.

    Example: presence-ledger sinks replay app --from 'yesterday 14:03'
    """
    _order(context, name, "replay", {"from": _place(from_)}, as_json, url)


def _place(text: str) -> int | str:
    """A position, or an instant as the API takes it. Raises typer.BadParameter."""
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    found = parse_instant(text, "--from", is_past=True)
    assert found is not None
    return in_api(found)


def _order(context: typer.Context, name: str, order: str, body: Json | None, as_json: bool, url: str | None) -> None:
    with client(settings_from(context), url) as service:
        found = service.order_sink(name, order, body)
    if as_json:
        print_json(found)
        return
    lag = counted(found["lag_events"], "position")
    say(f"{visible(name)}: {found['state']}, told up to position {found['position']}, {lag} behind")


def _at(instant: str | None) -> str | None:
    return instant and shown(instant, places=0)


def _row(sink: Json) -> Sequence[object]:
    error = sink["last_error"] or {}
    return (
        visible(sink["name"]), sink["kind"], sink["state"], sink["position"], sink["lag_events"], sink["told"],
        _at(sink["last_success_at"]), _at(error.get("at")), visible(error["reason"]) if error else None,
    )  # fmt: skip
