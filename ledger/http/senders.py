"""Where each node's webhooks come from: the address of the last post that named it and had its secret."""

from collections import defaultdict


class Senders:
    """Of this instance; noted in the event loop, read by any thread."""

    def __init__(self) -> None:
        self._last: defaultdict[str, dict[str, str]] = defaultdict(dict)

    def note(self, source: str, node: str, address: str) -> None:
        """A post came."""
        self._last[source][node] = address

    def of_source(self, source: str) -> dict[str, str]:
        """The addresses by node."""
        return dict(self._last.get(source, {}))
