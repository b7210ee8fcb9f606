"""Tables, as aligned lines, and what moves, which is drawn on a terminal.

What draws is imported where something is drawn: most calls only print.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ledger.cli import layout, words
from ledger.cli.output import cell, print_line, print_title, room
from ledger.text import visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints rows under their columns, whose names are told in the reader's language; None is a dash."""
    cells = [[cell(value) for value in row] for row in rows]
    names, *lines = layout.table([words.told(name) for name in columns], cells, room())
    print_title(names)
    for line in lines:
        print_line(line)


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
