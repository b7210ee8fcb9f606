"""The command with what a benchmark adds to it: a route that answers a constant, and timers around the steps of ingest.

`BENCH_CONSTANT=1` and `BENCH_PROFILE=1` switch them on; `BENCH_UNSEALED=1` leaves out all that seals cost;
`BENCH_UNWATCHED=1` counts nothing for `/metrics` and evaluates no alerts; `BENCH_CLOCK_SECONDS` puts the process's
clock forward by so much. All else is the product's own `serve`.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from fastapi import Depends, FastAPI, Response

from ledger.alerting.watch import Alerting
from ledger.cli.app import main
from ledger.http.app import create_app
from ledger.http.auth import KeyRing, require
from ledger.http.counters import Counters
from ledger.http.grants import Tokens
from ledger.http.request_times import TimedApp
from ledger.http.state import Services
from ledger.ingest import writer
from ledger.ingest.figures import IngestFigures
from ledger.service import instance as service
from ledger.store import recorder, seal
from ledger.store.commit import Commit
from projections.models import current

_HEAD_UNSEALED = """
SELECT coalesce((SELECT position FROM events ORDER BY position DESC LIMIT 1), 0),
       greatest(clock_timestamp(), (SELECT recorded_at FROM events ORDER BY position DESC LIMIT 1)),
       NULL::bytea, (SELECT epoch::text FROM ledger_identity),
       (SELECT before FROM event_partitions ORDER BY first DESC LIMIT 1)
"""

CONSTANT_PATH = "/bench/constant"
TIMES_PATH = "/bench/times"

# As long as an answer about one user.
BODY = b'{"constant":"' + b"x" * 420 + b'"}'


class Times:
    """Seconds by step: on the clock, and on the processor by the thread that took the step."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seconds: dict[str, tuple[float, float]] = {}

    def around(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            wall, processor = time.perf_counter(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.perf_counter() - wall, time.thread_time() - processor
                with self._lock:
                    before = self.seconds.get(step, (0.0, 0.0))
                    self.seconds[step] = before[0] + spent[0], before[1] + spent[1]

        return timed


def _extended(times: Times) -> Callable[[Services, KeyRing, Tokens], FastAPI]:
    def extended(services: Services, keys: KeyRing, tokens: Tokens) -> FastAPI:
        app = create_app(services, keys, tokens)

        async def constant() -> Response:
            return Response(BODY, media_type="application/json")

        async def show_times() -> dict[str, tuple[float, float]]:
            return times.seconds

        admitted = [Depends(require("read"))]
        app.add_api_route(CONSTANT_PATH, constant, dependencies=admitted)
        app.add_api_route(TIMES_PATH, show_times, dependencies=admitted)
        return app

    return extended


def _profile(times: Times) -> None:
    steps: tuple[tuple[Any, str, str], ...] = (
        (writer, "read_webhook", "parse"),
        (writer, "judge", "judge"),
        (current, "to_rows", "encode states"),
        (current, "load", "load states"),
        (Commit, "append", "write events"),
        (current, "write", "write states"),
        (writer.Writer, "_attempt", "transaction"),
    )
    to_rows = current.to_rows
    for owner, name, step in steps:
        function = getattr(owner, name)
        if name == "to_rows":
            # It makes its rows only as they are asked for.
            function = lambda presences: list(to_rows(presences))  # noqa: E731
        setattr(owner, name, times.around(step, function))


def _leave_seals_out() -> None:
    """No digests, so that a commit has nothing to seal, and no look at the seal before."""
    setattr(seal, "digests", lambda *_: b"")  # noqa: B010  (for mypy, a module's function is not to be assigned to)
    setattr(recorder, "HEAD", _HEAD_UNSEALED)  # noqa: B010


def _leave_watching_out() -> None:
    """No figures of webhooks and requests, no alerts."""

    async def untimed(timed: TimedApp, scope: Any, receive: Any, send: Any) -> None:
        await timed._app(scope, receive, send)

    def nothing(*_: object) -> None:
        pass

    for owner, names in ((IngestFigures, ("committed", "failed")), (Counters, ("delivered",)), (Alerting, ("start",))):
        for name in names:
            setattr(owner, name, nothing)
    setattr(TimedApp, "__call__", untimed)  # noqa: B010  (as above)


def _put_clock_forward(seconds: float) -> None:
    real, real_ns = time.time, time.time_ns
    setattr(time, "time", lambda: real() + seconds)  # noqa: B010  (as above)
    setattr(time, "time_ns", lambda: real_ns() + int(seconds * 1e9))  # noqa: B010


if __name__ == "__main__":
    times = Times()
    _put_clock_forward(float(os.environ.get("BENCH_CLOCK_SECONDS", "0")))
    if os.environ.get("BENCH_PROFILE"):
        _profile(times)
    if os.environ.get("BENCH_UNSEALED"):
        _leave_seals_out()
    if os.environ.get("BENCH_UNWATCHED"):
        _leave_watching_out()
    with patch.object(service, "create_app", _extended(times)):
        main()
