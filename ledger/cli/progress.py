"""Shows how far a long command is: a bar with speed and time left on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from ledger.cli.drawing import console
from ledger.cli.output import is_terminal, say
from ledger.text import printable

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_SECONDS = 5.0
"""Between two lines where no bar can be shown."""

Update = Callable[[int, int], None]
"""Told how much is done, of how much; a total of 0 is one that is not known."""


def shown(what: str, unit: str = "events") -> AbstractContextManager[Update]:
    """What shows the progress of `what`, counted in `unit`; on standard error, since programs read the output."""
    return _bar(what, unit) if is_terminal(stderr=True) else _lines(what, unit)


def bar(*, elapsed: bool = False) -> "Progress":
    """A bar on standard error, to which tasks of printable names are added with what is `told` of them."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    last = TimeElapsedColumn() if elapsed else TimeRemainingColumn()
    name, told = (TextColumn(f"{{task.{field}}}", markup=False) for field in ("description", "fields[told]"))
    return Progress(name, BarColumn(), told, last, console=console(stderr=True), transient=True)


@contextmanager
def _bar(what: str, unit: str) -> Iterator[Update]:
    with bar() as progress:
        task = progress.add_task(printable(what), total=None, told="")
        began = time.monotonic()

        def update(done: int, total: int) -> None:
            told = _told(done, total, unit, time.monotonic() - began)
            progress.update(task, total=total or None, completed=done, told=told)

        yield update


@contextmanager
def _lines(what: str, unit: str) -> Iterator[Update]:
    began = said_at = time.monotonic()

    def update(done: int, total: int) -> None:
        nonlocal said_at
        now = time.monotonic()
        if now - said_at >= LINE_SECONDS:
            said_at = now
            say(f"{what}: {_told(done, total, unit, now - began)}{_left(done, total, now - began)}")

    yield update


def _told(done: int, total: int, unit: str, seconds: float) -> str:
    of = f" of {total:,}" if total else ""
    speed = f", {done / seconds:,.0f} {unit}/s" if seconds > 0 and done else ""
    return f"{done:,}{of} {unit}{speed}"


def _left(done: int, total: int, seconds: float) -> str:
    return f", {seconds / done * (total - done):,.0f} s left" if done and total else ""
