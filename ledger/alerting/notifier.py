"""Tells one entry of `[[notify]]`: a thread of its own, so that a receiver that hangs holds up nobody else.

Notices wait in a bounded queue. What is not taken is tried again with growing pauses, and after some attempts behind
the others, which may be taken where one is refused for ever. What does not fit is asked for again.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Collection

import structlog

from ledger.alerting.notices import Notice, What
from ledger.domain.observation import Instant

log = structlog.get_logger()

MAX_WAITING = 100
MAX_ATTEMPTS = 3
"""Of a notice, before it is the others' turn."""
RETRY_DELAY_SECONDS = 1.0
MAX_RETRY_DELAY_SECONDS = 60.0

Send = Callable[[Notice], str | None]
"""Sends a notice; gives why it could not, None where it could."""

Told = Callable[[str, What, Instant], None]
"""Called in the notifier's thread once a notice has been taken: of which alert, which, and when."""


class Notifier:
    """One entry, from `start` to `stop`."""

    def __init__(
        self,
        name: str,
        send: Send,
        told: Told,
        now: Callable[[], Instant],
        retry_delay_seconds: float = RETRY_DELAY_SECONDS,
    ) -> None:
        self.name = name
        self._send = send
        self._told = told
        self._now = now
        self._retry_delay = self._pause = retry_delay_seconds
        self._queue: queue.Queue[Notice | None] = queue.Queue(MAX_WAITING)
        self._wanted: set[tuple[str, What]] = set()
        """Those that wait or are being sent; of others a turn that comes is passed over."""
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"notify {name}", daemon=True)
        self.failing_since: Instant | None = None
        self.reason = ""
        self.has_told = False

    @property
    def waiting(self) -> int:
        """How many are not told yet."""
        return len(self._wanted)

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more: what is not told is told by whoever comes next."""
        self._stopping.set()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)

    def join(self, seconds: float) -> None:
        """Wait for what is being told."""
        self._thread.join(seconds)

    def put(self, notice: Notice) -> bool:
        """Let a notice wait -> whether there was room."""
        key = notice.alert, notice.what
        with self._lock:
            if key in self._wanted:
                return True
            try:
                self._queue.put_nowait(notice)
            except queue.Full:
                return False
            self._wanted.add(key)
            return True

    def withdraw(self, alert: str, what: What) -> None:
        """A notice that has not been taken yet is not wanted any more."""
        with self._lock:
            self._wanted.discard((alert, what))

    def withdraw_others(self, alerts: Collection[str]) -> None:
        """Of alerts other than these nothing is wanted any more."""
        with self._lock:
            self._wanted = {key for key in self._wanted if key[0] in alerts}

    def withdraw_all(self) -> None:
        """None of those that wait is wanted any more."""
        self.withdraw_others(())

    def _run(self) -> None:
        while not self._stopping.is_set():
            if (notice := self._queue.get()) is not None:
                self._tell(notice)

    def _tell(self, notice: Notice) -> None:
        """Try until it is taken, withdrawn, the others' turn, or everything stops."""
        key, attempts = (notice.alert, notice.what), 0
        while key in self._wanted and not self._stopping.is_set():
            if attempts == MAX_ATTEMPTS:
                self._put_behind(notice)
                return
            attempts += 1
            reason = self._send(notice)
            if reason is None:
                self._taken(notice)
                return
            self._failed(reason)
            self._stopping.wait(self._pause)
            self._pause = min(2 * self._pause, MAX_RETRY_DELAY_SECONDS)
        if key not in self._wanted and not self._wanted:
            # Nobody knows whether the next one would be taken; nothing waits for it.
            self.failing_since, self._pause = None, self._retry_delay

    def _put_behind(self, notice: Notice) -> None:
        key = notice.alert, notice.what
        with self._lock:
            try:
                self._queue.put_nowait(notice)
            except queue.Full:
                self._wanted.discard(key)

    def _taken(self, notice: Notice) -> None:
        if self.failing_since is not None:
            log.info("notify_works_again", notify=self.name)
        self.failing_since, self.reason, self.has_told = None, "", True
        self._pause = self._retry_delay
        self._told(notice.alert, notice.what, self._now())
        self.withdraw(notice.alert, notice.what)

    def _failed(self, reason: str) -> None:
        if self.failing_since is None:
            self.failing_since = self._now()
            log.warning("notify_failed", notify=self.name, reason=reason)
        self.reason = reason
