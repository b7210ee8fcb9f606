"""How long requests take, by class of route, method and status, for `/metrics` of either listener."""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, Histogram

from ledger.http.route_classes import OTHER, STREAM, method_class, route_class

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

GONE = 499
"""In the place of a status: who asked has gone before the answer began."""

Message: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[[Message, Any, Any], Awaitable[None]]


class TimedApp:
    """An app whose requests are timed, from their heads to the ends of their answers; of a stream to its begin.

    WebSockets are not: they have no status, and last as long as their readers want. `rest` is the class of routes that
    have none of their own; `known` are (class, method, status) that begin at 0.
    """

    def __init__(
        self, app: App, registry: CollectorRegistry, *, rest: str = OTHER, known: tuple[tuple[str, str, int], ...] = ()
    ) -> None:
        self._app = app
        self._rest = rest
        self._histogram = Histogram(
            "presence_ledger_http_request_duration_seconds",
            "Requests by class of route, method and status",
            ["route", "method", "status"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._children: dict[tuple[str, str, int], Histogram] = {}
        for each in known:
            self._child(*each)

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, until_begun = time.perf_counter(), GONE, 0.0
        # Before the app changes it.
        path, method = scope["path"], scope["method"]

        async def send_noting(message: Message) -> None:
            nonlocal status, until_begun
            if message["type"] == "http.response.start":
                status, until_begun = message["status"], time.perf_counter() - began
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        finally:
            route = route_class(path, self._rest)
            took = until_begun if route == STREAM and status != GONE else time.perf_counter() - began
            self._child(route, method_class(method), status).observe(took)

    def _child(self, route: str, method: str, status: int) -> Histogram:
        key = route, method, status
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._histogram.labels(*key)
        return child
