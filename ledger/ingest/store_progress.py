"""Whether PostgreSQL takes what is written, and since when: told by the writer, asked by whoever waits for a commit."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger()

AWAY = "PostgreSQL does not answer"


class StoreProgress:
    """What the writer's threads have met. Instants are of `time.monotonic`."""

    def __init__(self) -> None:
        self.progressed_at = time.monotonic()
        """When PostgreSQL last took something."""
        self.reason = AWAY
        """Why the last attempt to commit failed, since one succeeded."""
        self._fails = False
        self._asked: dict[int, float] = {}
        """Since when each thread waits for PostgreSQL."""

    @property
    def trouble(self) -> str | None:
        """Why webhooks cannot be committed, None as long as the last attempt did not fail."""
        return self.reason if self._fails else None

    def progressed(self) -> None:
        """PostgreSQL took something: requests may wait on. What is begun, read or judged is not progress."""
        self.progressed_at = time.monotonic()

    def failing(self, error: Exception) -> None:
        """An attempt to commit failed."""
        if not self._fails:
            log.warning("commits_fail", reason=str(error))
        self.reason, self._fails = str(error), True

    def recovered(self) -> None:
        """PostgreSQL takes what is written."""
        if self._fails:
            log.info("commits_again")
        self.reason, self._fails = AWAY, False

    def stalled_seconds(self, now: float, waiting_since: float) -> float:
        """For how long nothing has been taken while something waited, and PostgreSQL was asked, or refused."""
        asked_since = self.progressed_at if self._fails else min(tuple(self._asked.values()), default=None)
        return 0.0 if asked_since is None else now - max(self.progressed_at, asked_since, waiting_since)

    def has_committed_since(self, instant: float) -> bool:
        """Whether PostgreSQL takes what is written, and has done so since then."""
        return not self._fails and self.progressed_at > instant

    @contextmanager
    def asking(self) -> Iterator[None]:
        """While a thread of the writer waits for PostgreSQL."""
        thread = threading.get_ident()
        self._asked[thread] = time.monotonic()
        try:
            yield
        finally:
            del self._asked[thread]
