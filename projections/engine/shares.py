"""Work divided among processes, each of which says how far it is; what one cannot do ends all of it."""

import gc
import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from typing import Any, NamedTuple, TypeVar, cast

from ledger.errors import LedgerError

Share = TypeVar("Share")
Result = TypeVar("Result")

Told = Callable[[int], None]
"""Told of so much more that is done."""

MOST_PROCESSES = 4

ALONE_EVENTS = 100_000
"""So few are read sooner than another process has started."""


class ProcessEnded(LedgerError):
    """A process that did a share was ended from outside."""


class _Done(NamedTuple):
    result: Any


def number_of_processes(events: int) -> int:
    """Into how many processes it pays to divide so many events."""
    return min(MOST_PROCESSES, len(os.sched_getaffinity(0))) if events > ALONE_EVENTS else 1


def together(work: Callable[[Share, Told], Result], shares: Sequence[Share], told: Told) -> list[Result]:
    """Do the shares, each in a process of its own but for a single one; results come as they are done.

    Raises what a share raises of our errors, and ProcessEnded.
    """
    if len(shares) == 1:
        return [work(shares[0], told)]
    context = multiprocessing.get_context("spawn")
    running: dict[Any, Any] = {}
    results: list[Result] = []
    try:
        for share in shares:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(theirs, work, share), daemon=True)
            process.start()
            theirs.close()
            running[ours] = process
        while running:
            for pipe in wait(list(running)):
                said = heard(cast(Pipe, pipe))
                if isinstance(said, _Done):
                    results.append(said.result)
                    running.pop(pipe).join()
                else:
                    told(said)
    finally:
        for process in running.values():
            process.terminate()
            process.join()
    return results


def heard(pipe: Pipe) -> Any:
    """What a process says; raises the error that ended it."""
    try:
        said = pipe.recv()
    except EOFError:
        raise ProcessEnded("a process of the rebuild was ended.\nNothing has been changed; rebuild again.") from None
    if isinstance(said, LedgerError):
        raise said
    return said


def _work(pipe: Pipe, work: Callable[[Share, Told], Result], share: Share) -> None:
    # Events hold no cycles, and a collection walks a whole batch of them for nothing.
    gc.freeze()
    gc.set_threshold(1_000_000)
    try:
        pipe.send(_Done(work(share, pipe.send)))
    except LedgerError as error:
        pipe.send(error)
    except BrokenPipeError:
        # Whoever wanted it is gone.
        return
