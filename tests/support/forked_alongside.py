"""The processes alongside a service, forked as it was: without starting Python and importing the product anew."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import cast

from ledger.service import processes
from tests.support.alongside import noted
from tests.support.forked import ask_for


def fork_them() -> None:
    """From now on those that this process starts are forked."""
    processes.start_python = start


async def start(module: str) -> asyncio.subprocess.Process:
    """As the product starts one."""
    orders, pipe = os.pipe()
    try:
        told = ask_for(module, [], Path.cwd(), os.environ, [sys.stdout.fileno(), orders])
    finally:
        os.close(orders)
    lines, writer = await asyncio.open_unix_connection(sock=told)
    process = _Alongside(int(await lines.readline()), pipe, lines, writer)
    noted(os.getpid(), module).write_text(str(process.pid))
    return cast("asyncio.subprocess.Process", process)


class _Input:
    """The pipe that its orders go to: they fit into it."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._is_open = True

    def write(self, data: bytes) -> None:
        os.write(self._pipe, data)

    async def drain(self) -> None:
        pass

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            os.close(self._pipe)


class _Alongside:
    """What the service asks of a process of its."""

    def __init__(self, pid: int, pipe: int, lines: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.stdin = _Input(pipe)
        self._ended = asyncio.create_task(self._end(lines, writer))

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, 9)

    @staticmethod
    async def _end(lines: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        code, _ = map(int, (await lines.readline()).split())
        writer.close()
        return code
