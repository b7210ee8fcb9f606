"""Processes that judge the shares of a ledger's users side by side: started, listened to, and ended in any case."""

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import NamedTuple, TypeAlias

import psycopg

from ledger.errors import LedgerError, StoreUnavailable
from ledger.replay.of_ledger import LedgerPart, judge_share_elsewhere
from ledger.replay.replayed import Replayed, add_up
from ledger.replay.slice import Trial
from ledger.slices.share import Share
from ledger.store import preflight, session

EVENTS_A_PROCESS = 50_000
"""To start another process for fewer takes longer than it saves."""

NAME = "replay"

END_SECONDS = 5.0
"""A process that has not ended by then is ended in any way."""


class ProcessLost(LedgerError):
    """A process of a replay ended before its share was judged."""


class _Failed(NamedTuple):
    """Why a share could not be judged: the words of an error that was expected."""

    words: str
    is_store: bool
    """Whether it is the database that is away."""


_Told: TypeAlias = int | Replayed | _Failed
"""What a process says: how many positions are behind, and in the end what it came to."""


def processes_for(positions: int, cores: int) -> int:
    """How many processes are worth it."""
    return max(1, min(cores, positions // EVENTS_A_PROCESS))


def judge_in_processes(
    url: str, moment: LedgerPart, trial: Trial, number: int, progress: Callable[[int, int], None]
) -> Replayed:
    """Judge everything again in so many processes, while the moment's transaction lasts.

    The trial is to be one that can be pickled. Raises what one process would, and ProcessLost; then nothing is left of
    them, as after any other end.
    """
    context = multiprocessing.get_context("spawn")
    workers: list[tuple[SpawnProcess, Pipe]] = []
    try:
        for index in range(number):
            ours, theirs = context.Pipe(duplex=False)
            arguments = (theirs, url, moment, trial, Share(index, number))
            worker = context.Process(target=work, args=arguments, daemon=True, name=f"{NAME} {index}")
            worker.start()
            # While nobody else holds its other end, a pipe tells that its process is gone.
            theirs.close()
            workers.append((worker, ours))
        return add_up(_results([pipe for _, pipe in workers], moment.positions, progress))
    finally:
        for worker, pipe in workers:
            worker.terminate()
            worker.join(END_SECONDS)
            # Told to end while it was ending, it may wait for itself for ever.
            worker.kill()
            worker.join()
            pipe.close()


def _results(pipes: Sequence[Pipe], positions: int, progress: Callable[[int, int], None]) -> list[Replayed]:
    """What each of them says in the end, in their order. Raises LedgerError."""
    behind, results = dict.fromkeys(pipes, 0), dict[Pipe, Replayed]()
    while waiting := [pipe for pipe in pipes if pipe not in results]:
        for pipe in wait(waiting):
            assert isinstance(pipe, Pipe)
            match _said(pipe):
                case _Failed(words, is_store):
                    raise StoreUnavailable(words) if is_store else LedgerError(words)
                case Replayed() as replayed:
                    results[pipe] = replayed
                case positions_behind:
                    behind[pipe] = positions_behind
                    progress(sum(behind.values()) // len(pipes), positions)
    return [results[pipe] for pipe in pipes]


def _said(pipe: Pipe) -> _Told:
    try:
        told: _Told = pipe.recv()
    except (EOFError, OSError):  # the other one where it ended in the middle of what it said
        raise ProcessLost(
            "A process of the replay ended before it was done.\n"
            "Was it killed, for want of memory? Fewer --processes take less, and --summary less still."
        ) from None
    return told


def work(pipe: Pipe, url: str, moment: LedgerPart, trial: Trial, share: Share) -> None:
    """The whole of a process: judge one share, and say through the pipe what it came to."""
    # A Ctrl-C reaches all of them; it is their parent's to end them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Who would read it has gone, and needs no traceback.
    with suppress(BrokenPipeError):
        pipe.send(_judged(pipe, url, moment, trial, share))


def _judged(pipe: Pipe, url: str, moment: LedgerPart, trial: Trial, share: Share) -> Replayed | _Failed:
    try:
        with session.connect(url, NAME) as connection:
            return judge_share_elsewhere(connection, moment, trial, pipe.send, share)
    except LedgerError as error:
        return _Failed(str(error), isinstance(error, StoreUnavailable))
    except psycopg.Error as error:
        return _Failed(str(preflight.refusal(error, url)), is_store=True)
