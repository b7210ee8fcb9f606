"""What the service refuses: webhooks by source, node and reason, API requests by reason; counted, and logged seldom.

The sender chooses the names in the path, so those that are not of the settings share one label.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

import structlog
from prometheus_client import CollectorRegistry, Counter

from ledger.repeated_logs import LogThrottle

log = structlog.get_logger()

MAX_RECENT = 1_000
"""So many of the last webhooks that were refused of a node for one reason are remembered one by one."""

UNKNOWN = "(unknown)"
"""Not the name of a source or a node, which has no brackets."""


class WhyForbidden(StrEnum):
    """Why a webhook got 403."""

    SECRET = "wrong_secret"  # noqa: S105
    NODE = "unknown_node"
    SOURCE = "unknown_source"


class WhyDenied(StrEnum):
    """Why a request of the API got 401 or, for its scope, 403."""

    NO_KEY = "no_key"
    UNKNOWN_KEY = "unknown_key"
    SCOPE = "scope_missing"
    TOKEN = "invalid_token"  # noqa: S105


@dataclass(frozen=True)
class RefusedWebhooks:
    """Webhooks refused of one node, or of names that are not of the settings, for one reason."""

    source: str
    """UNKNOWN where the settings have no such source."""
    node: str
    reason: WhyForbidden
    number: int
    """Since the instance started."""
    last_at: float
    """Seconds since 1970."""


class Refusals:
    """What an instance refused since it started; noted in the event loop, read by any thread."""

    def __init__(
        self,
        nodes: Mapping[str, Collection[str]],
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.time,
        count: Callable[[str, str], object] | None = None,
    ) -> None:
        """`count` is told the source and the node of each webhook that was refused, as figures name them."""
        self._count = count
        self._clock = clock
        self._forbidden: dict[tuple[str, str, WhyForbidden], RefusedWebhooks] = {}
        self._recent: dict[tuple[str, str, WhyForbidden], deque[float]] = {}
        self._throttle = LogThrottle()
        self._webhooks = Counter(
            "presence_ledger_webhooks_forbidden",
            "Posts with a wrong secret, source or node",
            ["source", "node", "reason"],
            registry=registry,
        )
        self._requests = Counter(
            "presence_ledger_requests_denied", "API requests without the key they need", ["reason"], registry=registry
        )
        for denied in WhyDenied:
            self._requests.labels(denied)
        self._webhooks.labels(UNKNOWN, UNKNOWN, WhyForbidden.SOURCE)
        self.know(nodes)

    def know(self, nodes: Mapping[str, Collection[str]]) -> None:
        """These are the names of the settings from now on."""
        self._nodes = nodes
        for source, names in nodes.items():
            self._webhooks.labels(source, UNKNOWN, WhyForbidden.NODE)
            for node in names:
                self._webhooks.labels(source, node, WhyForbidden.SECRET)

    def forbid(self, source: str, node: str, client: str) -> None:
        """A webhook was refused: its secret was wrong, or its source or node is not of the settings."""
        if source not in self._nodes:
            key = UNKNOWN, UNKNOWN, WhyForbidden.SOURCE
        elif node not in self._nodes[source]:
            key = source, UNKNOWN, WhyForbidden.NODE
        else:
            key = source, node, WhyForbidden.SECRET
        before = self._forbidden.get(key)
        self._forbidden[key] = RefusedWebhooks(*key, 1 if before is None else before.number + 1, self._clock())
        self._recent.setdefault(key, deque(maxlen=MAX_RECENT)).append(self._clock())
        self._webhooks.labels(*key).inc()
        if self._count is not None:
            self._count(key[0], key[1])
        if times := self._throttle.due(key):
            source, node, reason = key
            log.warning("webhook_refused", source=source, node=node, reason=reason, times=times, client=client)

    def deny(self, reason: WhyDenied, client: str) -> None:
        """A request of the API was refused for its key."""
        self._requests.labels(reason).inc()
        if times := self._throttle.due(reason):
            log.warning("request_denied", reason=reason, times=times, client=client)

    def from_source(self, source: str) -> list[RefusedWebhooks]:
        """The webhooks refused that named this source; UNKNOWN gives those that named none of the settings."""
        return [each for each in tuple(self._forbidden.values()) if each.source == source]

    def recent(self, seconds: float) -> dict[str, dict[str, int]]:
        """Webhooks refused within the last so many seconds, counted up to MAX_RECENT, by source and node.

        UNKNOWN stands for names that are not of the settings.
        """
        since = self._clock() - seconds
        found: dict[str, dict[str, int]] = {}
        for (source, node, _), times in tuple(self._recent.items()):
            if number := sum(at >= since for at in tuple(times)):
                found.setdefault(source, {})[node] = number
        return found

    def number(self) -> int:
        """All webhooks refused."""
        return sum(each.number for each in tuple(self._forbidden.values()))
