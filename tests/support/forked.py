"""Processes that skip what each would do again: starting Python, and importing the product.

One process of a test run has imported it and does nothing but fork: each fork takes its own folder, environment and
output, becomes the module that it is asked to be, and ends as any process does. To its test, or its benchmark, which
may start services in the same way, it is what `Popen` of `python -m MODULE` would be.
"""

import contextlib
import fcntl
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import coverage

from tests.support.command import REPOSITORY
from tests.support.external import RUN_VARIABLE, one_at_a_time

ALONGSIDE = "tests.support.forked_alongside"
IMPORTED = (
    "ledger.cli.serving", "ledger.cli.queries", "ledger.front.process", "ledger.service.projector",
    "ledger.sinks.process", ALONGSIDE, "bench._watching", "bench._load", "bench._report",
)  # fmt: skip
LOOK_SECONDS = 1.0

ALONE_MEASURED = "LEDGER_TESTS_ALONE"
"""Set for one whose own processes are not measured for coverage as it is."""

_forking: list[subprocess.Popen[bytes]] = []
"""What this process has started, which ends by itself."""


class Forked:
    """One process: `python -m MODULE` with these arguments, its output appended to `log`."""

    def __init__(
        self, module: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
    ) -> None:
        self._module = module
        with log.open("ab") as output:
            self._told = ask_for(module, arguments, folder, environment, [output.fileno()])
        self._lines = self._told.makefile("r")
        self.pid = int(self._lines.readline())
        self._code: int | None = None
        self.peak_kib = 0
        """Of its resident memory, once it has ended."""

    def poll(self) -> int | None:
        """Its exit code, the negative number of the signal that ended it, or None while it runs."""
        return self._ended(0.0)

    def wait(self, seconds: float) -> int:
        """Wait for its end -> its exit code. Raises TimeoutExpired."""
        if (code := self._ended(seconds)) is None:
            raise subprocess.TimeoutExpired(self._module, seconds)
        return code

    def send_signal(self, number: int) -> None:
        """A signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, seconds: float) -> int | None:
        if self._code is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._told, selectors.EVENT_READ)
                if selector.select(seconds):
                    self._code, self.peak_kib = map(int, self._lines.readline().split())
                    self._lines.close()
                    self._told.close()
        return self._code


def ask_for(
    module: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], descriptors: Sequence[int]
) -> socket.socket:
    """Have a process forked -> what tells two lines, its number, and in the end its exit code and peak of KiB.

    `descriptors`: its output, and perhaps its standard input; they remain the caller's to close.
    """
    asked = {"argv": [module, *arguments], "folder": str(folder), "environment": dict(environment)}
    told = socket.socket(socket.AF_UNIX)
    told.connect(_start())
    socket.send_fds(told, [b"."], list(descriptors))
    told.sendall(json.dumps(asked).encode())
    told.shutdown(socket.SHUT_WR)
    return told


def _start() -> str:
    """Start the forking process of this test run, unless that has been done -> where it listens."""
    folder = Path(os.environ[RUN_VARIABLE])
    path = folder / "forks"
    with one_at_a_time(folder / "forks.starting"):
        if not path.exists():
            # Of the forks those are measured whose environment says so, and none of what they share.
            environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
            with (folder / "forks.log").open("ab") as log:
                _forking.append(subprocess.Popen(
                    [sys.executable, "-m", __name__, str(path)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    cwd=REPOSITORY, env=environment, start_new_session=True,
                ))  # fmt: skip
            while not path.exists():
                time.sleep(0.01)
    return str(path)


class _Forking:
    """The loop of the forking process: asked for processes, told of their ends."""

    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        self._selector = selectors.DefaultSelector()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path.with_suffix(".new")))
        self._listening.listen(64)
        self._selector.register(self._listening, selectors.EVENT_READ)
        path.with_suffix(".new").rename(path)
        self._children: dict[int, tuple[int, socket.socket]] = {}
        """By the descriptor that stands for a process: its number, and who is to be told of its end."""

    def run(self) -> dict[str, Any] | None:
        """Fork until the test run is over: None; in each process that is forked, what it is to be."""
        while self._goes_on():
            for key, _ in self._selector.select(LOOK_SECONDS):
                if key.fileobj is not self._listening:
                    self._reap(key.fd)
                elif (order := self._fork()) is not None:
                    return order
        for number, _ in self._children.values():
            os.kill(number, signal.SIGKILL)
        return None

    def _goes_on(self) -> bool:
        """Whether somebody holds the lock of the run's folder."""
        try:
            with (self._folder / "run.lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            pass
        return False

    def _fork(self) -> dict[str, Any] | None:
        asking, _ = self._listening.accept()
        _, descriptors, _, _ = socket.recv_fds(asking, 1, 2)
        with asking.makefile("rb") as file:
            order: dict[str, Any] = json.loads(file.read())
        number = os.fork()
        if number == 0:
            self._leave(asking)
            output, *inputs = descriptors
            os.dup2(output, 1)
            os.dup2(output, 2)
            for descriptor in inputs:
                os.dup2(descriptor, 0)
        for descriptor in descriptors:
            os.close(descriptor)
        if number == 0:
            return order
        asking.sendall(b"%d\n" % number)
        descriptor = os.pidfd_open(number)
        self._children[descriptor] = number, asking
        self._selector.register(descriptor, selectors.EVENT_READ)
        return None

    def _leave(self, asking: socket.socket) -> None:
        """In a new process: nothing of this one's stays open."""
        self._selector.close()
        self._listening.close()
        asking.close()
        for descriptor, (_, other) in self._children.items():
            os.close(descriptor)
            other.close()

    def _reap(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)
        number, asking = self._children.pop(descriptor)
        _, status, used = os.wait4(number, 0)
        # Whoever asked may have ended.
        with asking, contextlib.suppress(OSError):
            asking.sendall(b"%d %d\n" % (os.waitstatus_to_exitcode(status), used.ru_maxrss))


def _become(order: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    coverage.process_startup()
    if ALONE_MEASURED in os.environ:
        for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
            del os.environ[name]
    module, *arguments = order["argv"]
    sys.argv = [module, *arguments]
    importlib.import_module(ALONGSIDE).fork_them()
    # Others may have imported it; here it is run.
    sys.modules.pop(module, None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for imported in IMPORTED:
        importlib.import_module(imported)
    # What is never collected, a new process need not copy to take it down in the end.
    gc.collect()
    gc.freeze()
    if (asked := _Forking(Path(sys.argv[1])).run()) is not None:
        _become(asked)
