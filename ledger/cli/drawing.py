"""Tables and what moves: drawn on a terminal; elsewhere a table is aligned lines.

What draws is imported where something is drawn: most calls only print.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from ledger.cli.output import cell, is_terminal, print_line
from ledger.text import visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints rows under their columns; None is a dash."""
    cells = [[cell(value) for value in row] for row in rows]
    if is_terminal():
        _print_rich(columns, cells)
    else:
        _print_plain(columns, cells)


def can_draw() -> bool:
    """Whether what moves can be drawn on the output; an operator's TTY_COMPATIBLE or FORCE_COLOR may say so, too."""
    return console().is_terminal


def console(*, stderr: bool = False) -> "Console":
    """What draws on the terminal; texts for it go through `drawn`."""
    from rich.console import Console

    return Console(stderr=stderr, emoji=False, markup=False, highlight=False)


def drawn(text: str, *, cut: bool = False) -> "Text":
    """A text as it is drawn; with `cut` each of its lines takes one of the terminal's."""
    from rich.text import Text

    return Text(visible(text), no_wrap=cut, overflow="ellipsis" if cut else "fold")


def live(on: "Console", render: "Callable[[], RenderableType]", *, transient: bool = False) -> "Live":
    """Draws again and again while its context lasts."""
    from rich.live import Live

    return Live(console=on, refresh_per_second=4, get_renderable=render, transient=transient)


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    console().print(table)


def _print_plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [columns, *rows]
    widths = [max(cell_len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        padded = (value + " " * (width - cell_len(value)) for value, width in zip(line, widths, strict=True))
        print_line("  ".join(padded).rstrip())
