"""The service's clock: wall time that never goes back, whatever is done to the machine's."""

import time

from ledger.domain.observation import Instant


class Clock:
    """Instants that ascend: where the machine's clock steps back, time goes on from the last one at its own pace."""

    def __init__(self) -> None:
        self._last = time.time_ns() // 1000
        self._monotonic = time.monotonic_ns() // 1000

    def now(self) -> Instant:
        """Microseconds since the epoch, never before an earlier answer."""
        monotonic = time.monotonic_ns() // 1000
        self._last = max(time.time_ns() // 1000, self._last + monotonic - self._monotonic)
        self._monotonic = monotonic
        return self._last
