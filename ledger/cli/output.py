"""The one place that prints: lines for people, JSON for programs; tables and what moves are `drawing`'s.

What is printed may come from anywhere: a uid, a node's message. Whatever in it could steer a terminal, or make a
line look other than it is, is written out.
"""

import io
import json
import os
import sys
from datetime import datetime
from typing import Annotated

import typer

from ledger.cli import layout
from ledger.text import printable, visible, visible_json

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def room() -> int | None:
    """How many cells a line of the output has; None where nothing bounds it."""
    return layout.width(sys.stdout)


def print_line(text: str = "", *, end: str = "\n") -> None:
    """Prints the output of a command: a line, or several."""
    typer.echo(visible(text) + end, nl=False)


def print_prose(text: str) -> None:
    """Prints sentences for people, broken between words where the width wants it."""
    for line in visible(text).split("\n"):
        typer.echo("\n".join(layout.wrapped(line, room())))


def print_title(text: str) -> None:
    """Prints the titles of columns, bold on a terminal."""
    bold = is_terminal() and not os.environ.get("NO_COLOR")
    typer.echo(typer.style(visible(text), bold=True) if bold else visible(text))


def say(text: str) -> None:
    """Prints a line for people on standard error, which programs that read the output leave alone.

    On a terminal it is broken between words, unless it begins with a blank: that is a command to be copied.
    """
    most = layout.width(sys.stderr) if is_terminal(stderr=True) else None
    for line in visible(text).split("\n"):
        lines = [line] if line.startswith(" ") else layout.wrapped(line, most, hanging="")
        typer.echo("\n".join(lines), err=True)


def hand_over(text: str) -> None:
    """Prints a text that another program is to take exactly as it is; on a terminal people read it."""
    typer.echo(visible(text) if is_terminal() else text)


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Prints one JSON value, in the output's own encoding where that has its characters, else escaped."""
    text = visible_json(json.dumps(value, ensure_ascii=False, indent=indent))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent)
    typer.echo(text)


def replace_what_cannot_be_written() -> None:
    """From here on a character that an output's encoding lacks is written as its escape; else it ends the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_terminal(*, stderr: bool = False) -> bool:
    """Whether people read the output, or what goes to standard error."""
    return (sys.stderr if stderr else sys.stdout).isatty()


def cell(value: object) -> str:
    """Writes a value for people, with whatever could steer a terminal written out."""
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            from ledger.cli import times  # noqa: PLC0415  (most outputs have none)

            return times.in_full(value)
        case float():
            return f"{value:g}" if value < 1_000_000 else f"{value:.0f}"
        case list() | tuple():
            return ", ".join(cell(element) for element in value)
        case _:
            return printable(str(value))


def duration(seconds: float) -> str:
    """Writes a time for people, in the largest unit of which there are at least two: `95 s`, `12 min`, `3 h`, `5 d`."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
