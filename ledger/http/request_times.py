"""How long requests take, by class of route, method and status, for `/metrics` of either listener."""

import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from itertools import accumulate
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ledger.http.route_classes import OTHER, STREAM, method_class, route_class

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

GONE = 499
"""In the place of a status: who asked has gone before the answer began."""

Message: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[[Message, Any, Any], Awaitable[None]]

_BOUNDS = [*map(floatToGoString, BUCKETS), "+Inf"]


class _Times:
    """Requests of one kind, by bucket, and their seconds in all."""

    __slots__ = ("numbers", "seconds")

    def __init__(self) -> None:
        self.numbers = [0] * len(_BOUNDS)
        self.seconds = 0.0


class TimedApp(Collector):
    """An app whose requests are timed, from their heads to the ends of their answers; of a stream to its begin.

    WebSockets are not: they have no status, and last as long as their readers want. `rest` is the class of routes that
    have none of their own; `known` are (class, method, status) that begin at 0.

    Without the client library's histogram, whose locks would cost a small question a fiftieth of its time: the event
    loop counts, and a scrape reads.
    """

    def __init__(
        self, app: App, registry: CollectorRegistry, *, rest: str = OTHER, known: Iterable[tuple[str, str, int]] = ()
    ) -> None:
        self._app = app
        self._rest = rest
        self._times: dict[tuple[str, str, int], _Times] = {key: _Times() for key in known}
        registry.register(self)

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, until_begun = time.perf_counter(), GONE, 0.0
        # Before the app changes it.
        path, method = scope["path"], scope["method"]

        def send_noting(message: Message) -> Awaitable[None]:
            nonlocal status, until_begun
            if message["type"] == "http.response.start":
                status, until_begun = message["status"], time.perf_counter() - began
            sent: Awaitable[None] = send(message)
            return sent

        try:
            await self._app(scope, receive, send_noting)
        finally:
            route = route_class(path, self._rest)
            took = until_begun if route == STREAM and status != GONE else time.perf_counter() - began
            self._note((route, method_class(method), status), took)

    def _note(self, key: tuple[str, str, int], took: float) -> None:
        times = self._times.get(key)
        if times is None:
            times = self._times[key] = _Times()
        times.numbers[bisect_left(BUCKETS, took)] += 1
        times.seconds += took

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        family = HistogramMetricFamily(
            "presence_ledger_http_request_duration_seconds",
            "Requests by class of route, method and status",
            labels=["route", "method", "status"],
        )
        for (route, method, status), times in list(self._times.items()):
            upto = list(zip(_BOUNDS, accumulate(times.numbers), strict=True))
            family.add_metric([route, method, str(status)], upto, times.seconds)
        return [family]
