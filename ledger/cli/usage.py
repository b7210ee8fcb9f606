"""How a wrong call is told: with what was meant, perhaps, in the reader's language; and how a shell completes one."""

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from typer.exceptions import TyperException

from ledger.cli.output import say
from ledger.cli.reader import reader
from ledger.cli.words import translated
from ledger.text import visible

_UNQUOTED = re.compile(r"Got unexpected extra argument.* \(\d{1,2}:\d\d\S*\)")
"""What is left of an instant whose blank ended it."""


_OF_A_CHOICE = "Value error, "
"""What typer puts before a word that is none of a few."""


@contextmanager
def explained() -> Iterator[None]:
    """An error quotes the call, which may have been pasted from anywhere: what could steer a terminal is escaped."""
    try:
        yield
    except TyperException as error:
        error.message = visible(error.message.removeprefix(_OF_A_CHOICE))
        if possible := getattr(error, "possibilities", None):
            nearest = difflib.get_close_matches(getattr(error, "option_name", ""), possible, n=1) or possible[:1]
            error.message += f". Did you mean '{nearest[0]}'?"
            # Else it tells all of them.
            error.possibilities = None  # type: ignore[attr-defined]
        if _UNQUOTED.fullmatch(error.message):
            error.message += ": put an instant of two words in quotation marks, 'yesterday 14:03'"
        if reader().language != "en" and not _is_help(error):
            error.show = partial(_show, error)  # type: ignore[attr-defined]
        raise


def completed(commands: Iterable[tuple[str, Any]], incomplete: str) -> list[Any]:
    """The commands that begin so, as the shell is told of them."""
    from typer._click.shell_completion import CompletionItem  # noqa: PLC0415  (typer has no public name for it)

    return [CompletionItem(name, help=entry.help) for name, entry in commands if name.startswith(incomplete)]


def _is_help(error: TyperException) -> bool:
    """A call without arguments is answered by the help, as an error that is none."""
    return type(error).__name__ == "NoArgsIsHelpError"


def _show(error: Any) -> None:
    """What typer shows of an error, in the reader's language."""
    context = getattr(error, "ctx", None)
    if context is not None:
        usage = context.get_usage().removeprefix("Usage:").strip()
        say(translated(f"Usage: {usage}"))
        say(translated(f"Try '{context.command_path} {context.help_option_names[0]}' for help."))
        say("")
    say(translated(f"Error: {visible(error.format_message())}"))
