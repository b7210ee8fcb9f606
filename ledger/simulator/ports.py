"""Ports of this machine for servers that begin to listen later, or again: nobody else is given them meanwhile.

A process that needs some takes a block of them, which is its own as long as it holds the block's first port; of those
that the system hands out itself, as to each connection that somebody makes, none is among them.
"""

import os
import random
import socket
import threading
from collections.abc import Iterator

from ledger.simulator.node_port import HOST
from ledger.simulator.plan import PlanError

BLOCK_PORTS = 64
BLOCKS = range(10_000, 32_768 - BLOCK_PORTS, BLOCK_PORTS)
"""Where each begins. Linux hands out ports from 32,768 on."""


class _Block:
    """One that is this process's own."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._held, first = _hold_any()
        self.ports: Iterator[int] = iter(range(first + 1, first + BLOCK_PORTS))

    def close(self) -> None:
        """Leave it to others, or to the parent of this process."""
        os.close(self._held)


_lock = threading.Lock()
_block: _Block | None = None


def free_port() -> int:
    """A port of this machine on which nothing listens. Raises PlanError."""
    global _block  # noqa: PLW0603  (a process has one)
    with _lock:
        while True:
            if _block is not None and _block.pid == os.getpid():
                for port in _block.ports:
                    if (probe := _bound(port)) is not None:
                        probe.close()
                        return port
            # There is none yet, or it is the parent's of a forked process, or used up.
            if _block is not None:
                _block.close()
            _block = _Block()


def _hold_any() -> tuple[int, int]:
    """-> (what holds a block until the process ends, or closes it; the block's first port)"""
    # Not from a generator's state, which forked processes share.
    for first in random.SystemRandom().sample(BLOCKS, len(BLOCKS)):
        if (held := _bound(first)) is not None:
            return held.detach(), first
    raise PlanError("no ports of this machine are free")


def _bound(port: int) -> socket.socket | None:
    """A socket at that port; None where somebody is there."""
    bound = socket.socket()
    try:
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        return None
    return bound
