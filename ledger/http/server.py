"""The HTTP server: granian inside our own event loop, on a port that a new instance may share with the old one."""

import asyncio
import errno
import socket
from typing import Any

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from ledger.errors import LedgerError
from ledger.settings import Listen

BACKLOG = 4096


class PortTaken(LedgerError):
    """Another program listens on the address."""


def check_address(listen: Listen) -> None:
    """Raise PortTaken, or say what else is wrong, before anything is started for nothing.

    Linux lets a port be shared by those who ask for it and run as one user: an instance beside another one of ours gets
    through, a port that another program holds does not.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            probe.bind((listen.host, listen.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTaken(
                    f"{listen} is taken by another program; stop it, or set `listen` to another port"
                ) from error
            raise LedgerError(
                f"cannot listen on {listen}: {error.strerror}; set `listen` to an address of this machine"
            ) from error


def server(app: Any, listen: Listen) -> Server:
    """A server of the app that `serve()` runs until `stop()`."""
    return Server(
        app,
        address=listen.host,
        port=listen.port,
        interface=Interfaces.ASGINL,
        websockets=False,
        backlog=BACKLOG,
        http1_settings=HTTP1Settings(),
        log_enabled=False,
        log_access=False,
    )


async def wait_until_listening(listen: Listen, seconds: float) -> None:
    """Return once the address takes connections. Raises LedgerError after `seconds`."""
    # An address that means all of them is asked at the loopback one.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            _, writer = await asyncio.open_connection(host, listen.port)
        except OSError as error:
            if asyncio.get_running_loop().time() > deadline:
                raise LedgerError(f"the server does not listen on {listen}: {error}") from error
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return
