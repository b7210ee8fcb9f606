"""The command itself: its global options, its list of commands, and what a failure looks like.

A command's module is imported when it is called, so that `--help` answers at once.
"""

import difflib
import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from ledger import __version__
from ledger.cli import reader, usage
from ledger.cli.invocation import Invocation
from ledger.cli.output import print_line, replace_what_cannot_be_written, say
from ledger.cli.words import translated
from ledger.errors import LedgerError
from ledger.languages import LANGUAGES, language_of


class CommandEntry(NamedTuple):
    """Where a command's function, or the typer application of its subcommands, is found."""

    module: str
    name: str
    help: str


COMMANDS = {
    "serve": CommandEntry("ledger.cli.serve", "serve", "Run the service: take webhooks, answer queries."),
    "demo": CommandEntry("ledger.cli.demo", "demo", "See it work with a simulated WuKongIM; nothing to configure."),
    "config": CommandEntry("ledger.cli.config", "app", "Show the settings in force and what to paste into WuKongIM."),
    "migrate": CommandEntry("ledger.cli.migrate", "migrate", "Bring the database's schema up to date."),
    "reload": CommandEntry("ledger.cli.reload", "reload", "Have the running service take changed settings."),
    "keys": CommandEntry("ledger.cli.keys", "app", "Make, list and revoke API keys; revoke tokens."),
    "lists": CommandEntry("ledger.cli.lists", "app", "Show the watch lists, and who is on one."),
    "status": CommandEntry("ledger.cli.queries", "status", "Show who is online."),
    "history": CommandEntry("ledger.cli.queries", "history", "Show a user's events, each with its verdict and rule."),
    "timeline": CommandEntry("ledger.cli.stories", "timeline", "Tell what happened to a user, and why."),
    "sessions": CommandEntry("ledger.cli.stories", "sessions", "Show a user's connections from beginning to end."),
    "verify": CommandEntry(
        "ledger.cli.verify", "verify", "Prove that no event was altered, or name the first that was."
    ),
    "backup": CommandEntry("ledger.cli.backup", "backup", "Write the embedded database into a file, while it runs."),
    "restore": CommandEntry(
        "ledger.cli.backup", "restore", "Bring a backup back, verified before it replaces anything."
    ),
    "explain": CommandEntry(
        "ledger.cli.explain", "explain", "Say why a user was shown online or offline at an instant."
    ),
    "projections": CommandEntry("ledger.cli.projections", "projections", "Show the progress of the read models."),
    "rebuild": CommandEntry("ledger.cli.projections", "rebuild_projections", "Rebuild read models from the ledger."),
    "reconcile": CommandEntry(
        "ledger.cli.reconcile", "reconcile", "Compare users with what WuKongIM says about them, now."
    ),
    "loss": CommandEntry("ledger.cli.loss", "loss", "Show which share of transitions webhooks lost."),
    "blind": CommandEntry("ledger.cli.loss", "blind", "Show the times in which nobody could know."),
    "override": CommandEntry("ledger.cli.override", "override", "Say what is shown of a user, for a while."),
    "erase": CommandEntry("ledger.cli.erase", "erase", "Remove everything that names a user, for ever; on record."),
    "archive": CommandEntry(
        "ledger.cli.archive", "app", "Move old events from the database to sealed files; prove them."
    ),
    "reads": CommandEntry("ledger.cli.reads", "reads", "Show who asked about a user."),
    "sinks": CommandEntry("ledger.cli.sinks", "app", "Show the sinks; pause, resume or replay one."),
    "alerts": CommandEntry("ledger.cli.alerts", "app", "Show what is wrong now, and what to do; acknowledge it."),
    "replay": CommandEntry("ledger.cli.replay", "replay", "Put a recording, a slice or the ledger through the rules."),
    "export": CommandEntry("ledger.cli.export", "export", "Write a slice of the ledger to a file."),
    "import": CommandEntry("ledger.cli.import_", "import_", "Bring a slice of another ledger into this one."),
    "simulate": CommandEntry(
        "ledger.cli.simulate", "simulate", "Run a WuKongIM that lies on command, against any service."
    ),
}

Command = Any
"""A click command; typer keeps click's classes to itself."""


class Commands(TyperGroup):
    """Finds commands by COMMANDS, and turns what they raise into lines and exit codes."""

    def list_commands(self, ctx: Command) -> list[str]:
        return list(COMMANDS)

    def make_context(self, info_name: str | None, args: list[str], *others: Any, **kwargs: Any) -> Any:
        reader.meet(args)
        with usage.explained():
            return super().make_context(info_name, args, *others, **kwargs)

    def get_command(self, ctx: Command, cmd_name: str) -> Command:
        place = COMMANDS.get(cmd_name)
        return place and _as_command(cmd_name, getattr(importlib.import_module(place.module), place.name))

    def resolve_command(self, ctx: Command, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except TyperException as error:
            if nearest := difflib.get_close_matches(args[0], COMMANDS, n=1):
                error.message += f" Did you mean '{nearest[0]}'?"
            raise

    def shell_complete(self, ctx: Command, incomplete: str) -> list[Any]:
        """The names of commands without importing any, and the global options."""
        options = super(TyperGroup, self).shell_complete(ctx, incomplete)
        return usage.completed(COMMANDS.items(), incomplete) + options

    def format_commands(self, ctx: Command, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.help) for name, place in COMMANDS.items()])

    def invoke(self, ctx: Command) -> Any:
        try:
            with usage.explained():
                return super().invoke(ctx)
        except (typer.Exit, typer.Abort, TyperException, BrokenPipeError):
            raise
        except LedgerError as error:
            _explain(two_lines(str(error)), debug=_is_debug(ctx))
        except Exception as error:  # noqa: BLE001  (the last seam: told to the person, with the exit code of a failure)
            # Its text is not shown, since it may quote a secret.
            text = f"unexpected error: {type(error).__name__}; run it again with --debug for the traceback"
            _explain(text, debug=_is_debug(ctx))
        raise typer.Exit(1)


app = typer.Typer(
    cls=Commands,
    name="presence-ledger",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 110, "help_option_names": ["--help", "-h"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        print_line(f"presence-ledger {__version__}")
        raise typer.Exit


CONFIG_HELP = "The settings to read instead of presence-ledger.toml in the working folder."
DEBUG_HELP = "Show the traceback of a failure."
TZ_HELP = "The zone of instants given and shown: Asia/Shanghai, UTC, +08:00. By default the machine's."
LANG_HELP = "The language of what is shown; zh-CN and the like will do. By default the terminal's, or English."


def _choose_zone(name: str | None) -> str | None:
    if name is not None:
        try:
            reader.show_in(reader.zone_of(name))
        except ValueError as error:
            raise typer.BadParameter(f"{name!r} {error}") from error
    return name


def _choose_language(tag: str | None) -> str | None:
    if tag is not None:
        language = language_of(tag)
        if language is None:
            raise typer.BadParameter(f"{tag!r} is not one of {', '.join(LANGUAGES)}")
        reader.speak(language)
    return tag


Zone = Annotated[str | None, typer.Option("--tz", metavar="ZONE", help=TZ_HELP, callback=_choose_zone)]
Lang = Annotated[str | None, typer.Option("--lang", metavar="en|zh", help=LANG_HELP, callback=_choose_language)]


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help=CONFIG_HELP)] = None,
    debug: Annotated[bool, typer.Option("--debug", help=DEBUG_HELP)] = False,
    tz: Zone = None,
    lang: Lang = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Who was online when: WuKongIM's webhooks, checked and kept as an immutable ledger.

    Example: presence-ledger --config /etc/presence-ledger.toml serve
    """
    del tz, lang  # their callbacks have told the reader
    context.obj = Invocation(config, debug)


def main() -> None:
    """Runs the command that this process's arguments name, and exits: 0, 1 on a failure, 2 on wrong usage."""
    replace_what_cannot_be_written()
    try:
        app(prog_name="presence-ledger")
    except KeyboardInterrupt:
        # Ctrl-C while a module is being imported; during a command typer does the same.
        sys.exit(130)


def two_lines(text: str) -> str:
    """Folds an explanation into one line, with the way out, its last line, below."""
    *reason, way_out = [line.strip() for line in text.splitlines() if line.strip()] or ["failed; no reason given"]
    return f"{' '.join(reason)}\n{way_out}" if reason else way_out


def _as_command(name: str, found: Callable[..., object] | typer.Typer) -> Command:
    if not isinstance(found, typer.Typer):
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name)(found)
        found = single
    command = get_command(found)
    command.name = name
    _take_global_options(command)
    return command


def _take_global_options(command: Command) -> None:
    """Have the command and its subcommands understand the global options, too, which win over those before it."""
    command.params.extend(_after_the_command())
    for beneath in getattr(command, "commands", {}).values():
        _take_global_options(beneath)


def _after_the_command() -> list[Any]:
    """The global options as parameters that only note what they say."""

    def config_is(context: typer.Context, file: Path | None) -> None:
        if file is not None:
            _invocation(context).config = file

    def debug_is(context: typer.Context, asked: bool) -> None:
        if asked:
            _invocation(context).debug = True

    holder = typer.Typer(add_completion=False, rich_markup_mode=None)

    @holder.command()
    def _(
        config: Annotated[Path | None, typer.Option(help=CONFIG_HELP, callback=config_is, expose_value=False)] = None,
        debug: Annotated[bool, typer.Option("--debug", help=DEBUG_HELP, callback=debug_is, expose_value=False)] = False,
        tz: Annotated[
            str | None,
            typer.Option("--tz", metavar="ZONE", help=TZ_HELP, callback=_choose_zone, expose_value=False),
        ] = None,
        lang: Annotated[
            str | None,
            typer.Option("--lang", metavar="en|zh", help=LANG_HELP, callback=_choose_language, expose_value=False),
        ] = None,
    ) -> None: ...

    return get_command(holder).params


def _invocation(context: typer.Context) -> Invocation:
    found: Invocation = context.find_root().obj
    return found


def _is_debug(context: Command) -> bool:
    return isinstance(context.obj, Invocation) and context.obj.debug


def _explain(text: str, *, debug: bool) -> None:
    if debug:
        say(traceback.format_exc().rstrip("\n"))
    say(f"presence-ledger: {translated(text)}")
