"""Notes who was asked about, for the one that keeps hot users at hand: each user now and then, however often asked."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

import structlog

from ledger.errors import StoreUnavailable
from projections.models.current import can_be_stored

log = structlog.get_logger()

TELL_SECONDS = 0.5
"""What is noted is told as often."""

MAX_USERS = 200_000
"""Remembered; of more, somebody is told of again sooner than necessary."""

MAX_TOLD = 20_000
"""At a time."""


class AskedAbout:
    """One process's notes. `again_seconds` None: nobody wants to know.

    `tell` lets others know, and raises StoreUnavailable; it is called in a thread. `watched` gives those who are being
    asked about all the time.
    """

    def __init__(
        self,
        again_seconds: float | None,
        tell: Callable[[Iterable[str]], None],
        watched: Callable[[], Iterable[str]] = tuple,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._again_seconds = again_seconds
        self._tell = tell
        self._watched = watched
        self._monotonic = monotonic
        self._noted: OrderedDict[str, float] = OrderedDict()
        self._untold: dict[str, None] = {}
        self._watched_noted_at = monotonic()
        self._telling: asyncio.Task[None] | None = None

    def note(self, uids: Iterable[str]) -> None:
        """These users are being asked about."""
        if self._again_seconds is None:
            return
        now = self._monotonic()
        for uid in uids:
            noted_at = self._noted.get(uid)
            if (noted_at is None or now - noted_at >= self._again_seconds) and can_be_stored(uid):
                self._noted[uid] = now
                self._noted.move_to_end(uid)
                self._untold[uid] = None
        while len(self._noted) > MAX_USERS:
            self._noted.popitem(last=False)
        while len(self._untold) > MAX_USERS:
            del self._untold[next(iter(self._untold))]

    def start(self) -> None:
        """Let others know from now on."""
        if self._again_seconds is not None:
            self._telling = asyncio.create_task(self._keep_telling(self._again_seconds))

    async def stop(self) -> None:
        """Tell nothing more."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
            self._telling = None

    async def change(self, again_seconds: float | None) -> None:
        """Somebody wants to know more or less often from now on, or nobody does."""
        if again_seconds != self._again_seconds:
            await self.stop()
            self._again_seconds = again_seconds
            self.start()

    async def _keep_telling(self, again_seconds: float) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            if self._monotonic() - self._watched_noted_at >= again_seconds:
                self._watched_noted_at = self._monotonic()
                self.note(list(self._watched()))
            await self.tell_noted()

    async def tell_noted(self) -> None:
        """Let others know now; what they cannot be told is noted when it is asked again."""
        while self._untold:
            told = list(self._untold)[:MAX_TOLD]
            for uid in told:
                del self._untold[uid]
            try:
                await asyncio.to_thread(self._tell, told)
            except StoreUnavailable:
                for uid in told:
                    self._noted.pop(uid, None)
                return
            except Exception:  # whatever it is, the next ones are to be told of
                log.exception("asked_about_untold")
                return
