"""The addresses of the hosts that a source's nodes are asked at: resolved in a thread of its own, for names may take
longer than a database."""

import socket
import threading
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from ledger.settings import SourceSettings

RESOLVED_SECONDS = 300.0
"""So long addresses stand."""

Start = Callable[[Callable[[], None]], None]


def in_a_thread(work: Callable[[], None]) -> None:
    """Begin it; the process does not wait for it at its end."""
    threading.Thread(target=work, name="addresses", daemon=True).start()


class NodeAddresses:
    """Of one thread, but for what `start` begins, one at a time."""

    def __init__(self, source: SourceSettings, start: Start = in_a_thread) -> None:
        hosts = {node.name: urlsplit(node.api_url).hostname or "" for node in source.nodes if node.api_url}
        self._hosts = hosts if len(hosts) > 1 else {}
        self._start = start
        self._resolved: Mapping[str, frozenset[str]] | None = None if self._hosts else {}
        self._until = float("-inf")
        self._is_resolving = False

    def at(self, seconds: float) -> Mapping[str, frozenset[str]] | None:
        """By node, as they were resolved last; of a host that is not known none. None while there is no answer yet."""
        if seconds >= self._until and self._hosts and not self._is_resolving:
            self._until = seconds + RESOLVED_SECONDS
            self._is_resolving = True
            self._start(self._resolve)
        return self._resolved

    def _resolve(self) -> None:
        try:
            before = self._resolved or {}
            # Where names cannot be resolved now, the last good answer stands.
            self._resolved = {
                name: _addresses(host) or before.get(name, frozenset()) for name, host in self._hosts.items()
            }
        finally:
            self._is_resolving = False


def _addresses(host: str) -> frozenset[str]:
    try:
        return frozenset(str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return frozenset()
