"""The follower: reads once a second what others have committed since, and fills the memory when it begins."""

import asyncio
import threading
import time
from collections.abc import Callable

import structlog

from ledger.changes.moment import Moment, Moments
from ledger.domain.observation import Instant
from ledger.errors import StoreUnavailable
from ledger.last_known.memory import PAGE_USERS, FoundChanges, LastKnown, UsersPage, WantedChanges
from ledger.store.ledger import Ledger
from ledger.working_state import erasures
from projections.engine import feed
from projections.models import current

log = structlog.get_logger()

FOLLOW_SECONDS = 1.0
"""What others have committed is known so much later."""
FILL_SECONDS = 0.1
AGAIN_SECONDS = 0.25
"""While PostgreSQL is away: it is found back so soon."""
STOP_SECONDS = 0.5
"""While PostgreSQL is away it may wait for that longer, and holds nothing that has to be given back."""


class Following:
    """Keeps a memory right, from `start` to `stop`, in a thread of its own; `heard` is told of each answer."""

    def __init__(
        self, ledger: Ledger, known: LastKnown, now: Callable[[], Instant], heard: Callable[[float], object]
    ) -> None:
        self._ledger = ledger
        self._known = known
        self._now = now
        self._heard = heard
        self._moments = Moments(now)
        self._lineage = ledger.lineage
        self._stopped = threading.Event()
        self._has_failed = False
        # Not one of the pool's threads, which wait for PostgreSQL as well.
        self._thread = threading.Thread(target=self._run, name="last known", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    async def stop(self) -> None:
        """Follow no more."""
        self._stopped.set()
        await asyncio.to_thread(self._thread.join, STOP_SECONDS)

    def _run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            asked_at = time.monotonic()
            try:
                pause = FILL_SECONDS if self.step() else FOLLOW_SECONDS
                self._heard(asked_at)
            except StoreUnavailable:
                pause = AGAIN_SECONDS
            except Exception:  # a defect must be seen, once, and must not end it
                pause = FOLLOW_SECONDS
                if not self._has_failed and not self._stopped.is_set():
                    self._has_failed = True
                    log.exception("last_known_failed")

    def step(self) -> bool:
        """Read what has come -> whether there is more to be read at once. Raises StoreUnavailable, SourceUnreadable."""
        asked_at, lineage = self._now(), self._ledger.look()
        if lineage != self._lineage:
            # At the position of the rules that are known there may be others.
            self._moments, self._lineage = Moments(self._now), lineage
        with self._ledger.reading() as connection, self._moments.read(connection) as moment:
            wanted = self._known.wanted(lineage, moment.made.position)
            found = _find(moment, wanted, asked_at)
        if found is None:
            self._known.forget()
            return True
        return self._known.take(wanted, found)


def _find(moment: Moment, wanted: WantedChanges, asked_at: Instant) -> FoundChanges | None:
    """What a moment says of what is wanted; None: who was erased is no longer known, so that it has to begin again."""
    changed: set[str] = set()
    for after, up_to in wanted.gaps:
        changed |= feed.users_between(moment.connection.cursor(), after, up_to, up_to - after)
        for erased in erasures.between(moment.connection, after, up_to):
            if erased.uid is None:
                return None
            changed.add(erased.uid)
    states = current.load_states(moment.connection, sorted(changed)) if changed else {}
    return FoundChanges(asked_at, moment.made, moment.rules, changed, states, _page(moment, wanted))


def _page(moment: Moment, wanted: WantedChanges) -> UsersPage | None:
    if wanted.after is None:
        return None
    rows = current.states_after(moment.connection, wanted.after, PAGE_USERS, online_alone=wanted.online_alone)
    return UsersPage(dict(rows), rows[-1][0] if len(rows) == PAGE_USERS else None)
