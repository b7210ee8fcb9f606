"""Tells systemd how the service fares (`Type=notify`): a line to the socket that it named; without one, nothing.

The protocol is of sd_notify(3) and stable: an own few lines, since the libraries for it do no more.
"""

import asyncio
import os
import socket
import time

SOCKET = "NOTIFY_SOCKET"
WATCHDOG_MICROSECONDS = "WATCHDOG_USEC"
WATCHDOG_PROCESS = "WATCHDOG_PID"

SEND_SECONDS = 1.0
PINGS = 3
"""Within the time after which systemd takes the service for hung."""


def ready() -> None:
    """It serves; or, after `reloading`, has done so."""
    _tell("READY=1")


def reloading() -> None:
    """It takes its settings anew."""
    _tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping() -> None:
    """It has been asked to stop, or has failed."""
    _tell("STOPPING=1")


async def keep_watchdog_quiet() -> None:
    """Show that the event loop has its turn, as often as systemd wants to see, until cancelled."""
    seconds = _watchdog_seconds()
    while seconds is not None:
        _tell("WATCHDOG=1")
        await asyncio.sleep(seconds / PINGS)


def _watchdog_seconds() -> float | None:
    """The time after which systemd ends a service that has not been heard of; None where it does not."""
    given, process = os.environ.get(WATCHDOG_MICROSECONDS, ""), os.environ.get(WATCHDOG_PROCESS)
    if not given.isdigit() or int(given) == 0 or process not in {None, str(os.getpid())}:
        return None
    return int(given) / 1_000_000


def _tell(state: str) -> None:
    address = os.environ.get(SOCKET, "")
    if not address:
        return
    # The `@` of an address of Linux's abstract namespace stands for a zero.
    name = f"\0{address[1:]}" if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
        sending.settimeout(SEND_SECONDS)
        try:
            sending.sendto(state.encode(), name)
        except OSError:
            # Nobody listens, or hears us: whoever started us may have given the variable on.
            return
