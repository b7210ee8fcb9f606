"""What listens on our port already: it may be shared with instances of the same ledger alone.

Linux spreads connections over all who listen on a port, so an instance of another ledger would get half of our
requests, and answer them with 401 and 403. What is there is asked, without a credential, which ledger it serves.
"""

import http.client
import ipaddress
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psutil

from ledger.server.http_server import PortTaken
from ledger.settings import Listen

LIVE, READY = "/health/live", "/health/ready"
ANSWER_SECONDS = 2.0
PATIENCE_SECONDS = 12.0
"""One that stops is gone by then, and one that is busy has answered."""
PAUSE_SECONDS = 0.2
ASKED_OF_EACH = 4
"""Where several share an address, each question reaches one of them, and none can say which."""
MAX_ANSWER_BYTES = 65_536

TURN_SECONDS = 30.0


class Neighbour(NamedTuple):
    """A presence ledger on our port; one of a version before ledgers had ids has none."""

    ledger: str | None
    instance: str | None


class _NoAnswer(Exception):
    """A program listens and does not answer, or answers no more."""


def expect_ours(listen: Listen, is_ours: Callable[[Neighbour], bool]) -> None:
    """Raises PortTaken where something listens on the address that does not serve our ledger."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            for address, number in _listeners(listen).items():
                for _ in range(1 if number == 1 else ASKED_OF_EACH * number):
                    _expect_ours(listen, address, is_ours)
        except _NoAnswer:
            if time.monotonic() > deadline:
                raise PortTaken(
                    f"{listen} is in use by a program that does not answer, so it may be another ledger's service.\n"
                    "Stop that one, or set `listen` to another port."
                ) from None
            time.sleep(PAUSE_SECONDS)
        else:
            return


@contextmanager
def one_at_a_time(port: int) -> Iterator[None]:
    """Of several that start at once on a port, one at a time looks who is there and begins to listen.

    An abstract socket of Linux: it has the bounds of the port itself, and ends with its holder. Elsewhere none waits.
    """
    with socket.socket(socket.AF_UNIX) as turn:
        name, deadline = f"\0presence-ledger {os.geteuid()} {port}", time.monotonic() + TURN_SECONDS
        while True:
            try:
                turn.bind(name)
            except OSError:
                if not _has_abstract_sockets():
                    break
                if time.monotonic() > deadline:
                    raise PortTaken(
                        f"another service is about to listen on port {port}, and has been for too long.\n"
                        "Stop that one, or set `listen` to another port."
                    ) from None
                time.sleep(PAUSE_SECONDS)
            else:
                break
        yield


def _has_abstract_sockets() -> bool:
    return os.uname().sysname == "Linux"


def _listeners(listen: Listen) -> dict[tuple[str, int], int]:
    """The addresses at which connections are taken that are meant for ours, and by how many."""
    ours = {info[4][0] for info in socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)}
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        # A system that does not say what listens: what takes a connection to our address does.
        return {(_reachable(str(host)), listen.port): 1 for host in ours if _takes_connections(str(host), listen.port)}
    found: dict[tuple[str, int], int] = {}
    for each in connections:
        if each.status != psutil.CONN_LISTEN or not each.laddr:
            continue
        host, port = each.laddr
        if port == listen.port and _overlaps(ours, host):
            address = _reachable(host), port
            found[address] = found.get(address, 0) + 1
    return found


def _overlaps(ours: set[Any], theirs: str) -> bool:
    return theirs in ours or _is_any(theirs) or any(_is_any(host) for host in ours)


def _is_any(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_unspecified


def _reachable(host: str) -> str:
    """Where to ask what listens on this address."""
    if not _is_any(host):
        return host
    return "::1" if ":" in host else "127.0.0.1"


def _takes_connections(host: str, port: int) -> bool:
    try:
        socket.create_connection((_reachable(host), port), ANSWER_SECONDS).close()
    except OSError:
        return False
    return True


def _expect_ours(listen: Listen, address: tuple[str, int], is_ours: Callable[[Neighbour], bool]) -> None:
    found = _ask(address)
    if found is None:
        raise PortTaken(
            f"{listen} is taken by another program, which shares it and is not a presence ledger.\n"
            "Stop it, or set `listen` to another port."
        )
    if not is_ours(found):
        raise PortTaken(
            f"{listen} is taken by the service of another ledger ({found.instance or 'which does not say its name'}): "
            "each would get half of the other's requests.\nStop that one, or set `listen` to another port."
        )


def _ask(address: tuple[str, int]) -> Neighbour | None:
    """The presence ledger that answers there; None where something else does. Raises _NoAnswer."""
    live = _get(address, LIVE)
    if live is None or live.get("status") != "live":
        return None
    if "ledger" in live:
        return Neighbour(live["ledger"], live.get("instance"))
    ready = _get(address, READY)
    return Neighbour(None, ready.get("instance") if ready else None)


def _get(address: tuple[str, int], path: str) -> dict[str, Any] | None:
    """The JSON object of an answer, None where it is something else. Raises _NoAnswer."""
    connection = http.client.HTTPConnection(*address, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = json.loads(connection.getresponse().read(MAX_ANSWER_BYTES))
    except OSError as error:
        raise _NoAnswer from error
    except (http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else None
