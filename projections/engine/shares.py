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

ReportDone = Callable[[int], None]
"""Told of so much more that is done."""

MAX_PROCESSES = 4

MAX_EVENTS_ALONE = 100_000
"""So few are read sooner than another process has started."""


class ProcessEnded(LedgerError):
    """A process that did a share was ended from outside."""


class _Done(NamedTuple):
    result: Any


def number_of_processes(events: int) -> int:
    """Into how many processes it pays to divide so many events."""
    return min(MAX_PROCESSES, len(os.sched_getaffinity(0))) if events > MAX_EVENTS_ALONE else 1


def together(work: Callable[[Share, ReportDone], Result], shares: Sequence[Share], report: ReportDone) -> list[Result]:
    """Do the shares, each in a process of its own but for a single one; results come as they are done.

    What a process is to do must be picklable.
    Raises what a share raises of our errors, and ProcessEnded.
    """
    if len(shares) == 1:
        return [work(shares[0], report)]
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
                said = receive(cast(Pipe, pipe))
                if isinstance(said, _Done):
                    results.append(said.result)
                    running.pop(pipe).join()
                else:
                    report(said)
    finally:
        for process in running.values():
            # Ended in any way: what is alongside the service ignores SIGTERM, and so do its own.
            process.kill()
            process.join()
    return results


def receive(pipe: Pipe) -> Any:
    """What a process says; raises the error that ended it."""
    try:
        said = pipe.recv()
    except EOFError:
        raise ProcessEnded("a process of the rebuild was ended.\nNothing has been changed; rebuild again.") from None
    if isinstance(said, LedgerError):
        raise said
    return said


def _work(pipe: Pipe, work: Callable[[Share, ReportDone], Result], share: Share) -> None:
    # Events hold no cycles, and a collection walks a whole batch of them for nothing.
    gc.freeze()
    gc.set_threshold(1_000_000)
    try:
        pipe.send(_Done(work(share, pipe.send)))
    except LedgerError as error:
        pipe.send(error)
    except BrokenPipeError:
        # The parent process is gone.
        return
