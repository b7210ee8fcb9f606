"""The command `config`: the settings in force, the database's URL, and what to paste into a WuKongIM node."""

import shlex
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import typer

from ledger.cli.drawing import print_table
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, hand_over, print_json, print_line, say
from ledger.domain.profile import Profile
from ledger.settings import Listen, NodeSettings, Settings, SourceSettings, webhook_secrets
from ledger.settings.entries import entries
from ledger.settings.exposed import exposed_file
from ledger.settings.notices import expect_known
from ledger.store.data_folder import DataFolder

app = typer.Typer(add_completion=False, rich_markup_mode=None, invoke_without_command=True)


class Paste(NamedTuple):
    """What one node needs: the file it goes into, the webhook's address, and the lines."""

    source: str
    node: str
    profile: Profile
    file: str
    webhook_url: str
    lines: str


@app.callback()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the settings in force and where each came from, secrets masked.

    Example: presence-ledger config --json
    """
    if context.invoked_subcommand is not None:
        return
    settings = settings_from(context)
    expect_known(settings)
    if (exposed := exposed_file(settings)) is not None:
        say(f"other users can reach {exposed.path} (mode {exposed.mode}); {exposed.way_out}")
    if as_json:
        listed = {each.key: {"value": each.value, "origin": str(each.origin)} for each in entries(settings)}
        print_json({"file": str(settings.file) if settings.file else None, "settings": listed})
        return
    say(f"settings of {settings.file}" if settings.file else "no settings file: defaults and the environment")
    print_table(("setting", "value", "from"), entries(settings))


@app.command("database-url")
def show_database_url(
    context: typer.Context,
    as_environment: Annotated[
        bool, typer.Option("--env", help="Print lines for a shell that set PGHOST, PGPASSWORD and so on.")
    ] = False,
) -> None:
    """Print the database's URL, its password included, for psql and other tools; the embedded one's while it runs.

    Every user of the machine can read a command's arguments, but not its environment. So set that with --env, and pass
    no URL.

    Example: eval "$(presence-ledger config database-url --env)" && psql
    """
    from ledger.cli.access import database_url  # noqa: PLC0415  (`config` alone opens no database)

    url = database_url(settings_from(context))
    hand_over("\n".join(_exports(url)) if as_environment else url)


def _exports(url: str) -> Iterator[str]:
    """The URL as lines of a shell, one for each parameter that libpq has a variable for."""
    from psycopg.pq import Conninfo  # noqa: PLC0415

    for option in Conninfo.parse(url.encode()):
        if option.val is None:
            continue
        if option.envvar is None:
            say(f"{option.keyword.decode()} has no environment variable; it is left out")
        else:
            yield f"export {option.envvar.decode()}={shlex.quote(option.val.decode())}"


@app.command()
def wukongim(
    context: typer.Context,
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    node: Annotated[str | None, typer.Option(help="Only this node.")] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="The address by which the nodes reach this service.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the lines to paste into each node's wk.yaml (v1, v2) or wukongim.toml (v3), the secret included.

    WuKongIM's gRPC webhooks are not supported: set the HTTP address alone.

    Example: presence-ledger config wukongim --node n1 --url http://10.0.0.5:8640
    """
    settings = settings_from(context)
    chosen = list(_chosen(settings, source, node))
    base = _base(url, settings.listen)
    folder = DataFolder(settings.data_dir)
    if any(not each.webhook_secrets for each, _ in chosen):
        folder.create()
    pastes = [_paste(each, member, base, webhook_secrets(each, folder.secret)[0]) for each, member in chosen]
    if as_json:
        print_json([paste._asdict() for paste in pastes])
        return
    print_line("\n\n".join(paste.lines for paste in pastes))
    if url is None:
        say(
            f"\nThese lines are for a WuKongIM on this machine, which reaches the service at {base}; "
            "for one on another machine give --url."
        )


def _chosen(
    settings: Settings, source_name: str | None, node_name: str | None
) -> Iterator[tuple[SourceSettings, NodeSettings]]:
    known = ", ".join(f"{source.name}/{node.name}" for source in settings.sources for node in source.nodes)
    found = False
    for source in settings.sources:
        for node in source.nodes:
            if source_name in (None, source.name) and node_name in (None, node.name):
                found = True
                yield source, node
    if not found:
        raise typer.BadParameter(f"no such source and node; choose from {known}", param_hint="--source, --node")


def _base(url: str | None, listen: Listen) -> str:
    if url is None:
        return listen.local_url
    if not url.startswith(("http://", "https://")) or any(mark in url for mark in " ?#\"'\\"):
        raise typer.BadParameter("must be an address like http://10.0.0.5:8640", param_hint="--url")
    return url.rstrip("/")


def _paste(source: SourceSettings, node: NodeSettings, base: str, secret: str) -> Paste:
    profile = source.profile_for(node)
    webhook_url = f"{base}/hooks/{source.name}/{node.name}/{secret}"
    title = f"# source {source.name}, node {node.name} ({profile.value})"
    if profile is Profile.V3:
        lines = (
            f"{title}: into its wukongim.toml, then restart it.\n"
            "# HTTP only; where focus_events is set, it must hold user.onlinestatus.\n"
            "[webhook]\n"
            f'http_addr = "{webhook_url}"'
        )
        return Paste(source.name, node.name, profile, "wukongim.toml", webhook_url, lines)
    lines = (
        f"{title}: into its wk.yaml, then restart it.\n"
        "# HTTP only: gRPC webhooks are not supported, leave grpcAddr unset;\n"
        "# where focusEvents is set, it must hold user.onlinestatus.\n"
        "webhook:\n"
        f'  httpAddr: "{webhook_url}"'
    )
    return Paste(source.name, node.name, profile, "wk.yaml", webhook_url, lines)
