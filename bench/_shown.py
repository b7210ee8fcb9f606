"""What a service showed of every user, instant by instant: its events folded, the status derived after each."""

from collections import Counter
from collections.abc import Iterator

from ledger.domain.event_types import UserEvent
from ledger.domain.evolve import evolve
from ledger.domain.instants import from_datetime
from ledger.domain.observation import SECOND, Instant
from ledger.domain.presence import Presence
from ledger.domain.reconciliation_events import RunCounts, RunEnded
from ledger.domain.source import SourceState, evolve_source
from ledger.domain.status import Shown as Derived
from ledger.domain.status import derive, longest_grace
from ledger.store.ledger import Ledger
from ledger.store.mapper import SOURCE_PREFIX, USER_PREFIX
from ledger.working_state.sources import changes_rules

PAGE = 5_000


class Shown:
    """Transitions by user, in seconds after `started_at` (Unix seconds), for a policy without a grace period.

    An event counts from its `recorded_at`; while no service runs, what it showed last goes on.
    """

    def __init__(self, ledger: Ledger, started_at: float) -> None:
        self._ledger = ledger
        self._started_at = round(started_at * SECOND)
        self._presences: dict[str, Presence] = {}
        self._sources: dict[str, SourceState] = {}
        self._position = 0
        self.transitions: dict[str, list[tuple[float, str]]] = {}
        self.kinds: Counter[str] = Counter()
        """Events by kind."""
        self.looked = 0
        self.corrected = 0
        """What the runs that have ended came to: users looked at, users corrected."""

    def status(self, uid: str) -> str:
        """What is shown of a user at the position that was folded to."""
        shown = self.transitions.get(uid)
        return shown[-1][1] if shown else "unknown"

    def fold(self, up_to: int | None = None) -> None:
        """Go on to a position, or to the end."""
        while rows := self._ledger.events_recorder.ledger_rows(after=self._position, limit=PAGE):
            for row in rows:
                if up_to is not None and row.position > up_to:
                    return
                self._position = row.position
                self.kinds[row.kind] += 1
                self._take(row.stream, self._ledger.event(row), from_datetime(row.recorded_at))

    def result(self, end: float) -> dict[str, dict[str, list[tuple[float, str]]]]:
        """What was shown up to `end`, as the fixtures' scorer takes it."""
        return {uid: {"transitions": list(_until(shown, end))} for uid, shown in self.transitions.items()}

    def _take(self, stream: str, event: object, at: Instant) -> None:
        if stream.startswith(USER_PREFIX):
            uid = stream.removeprefix(USER_PREFIX)
            assert isinstance(event, UserEvent)
            self._presences[uid] = evolve(self._presences.get(uid) or Presence(uid), event, self._position)
            self._show(uid, at)
            return
        name = stream.removeprefix(SOURCE_PREFIX)
        source = self._sources.get(name) or SourceState(name)
        # Everything in a source's stream is of a source.
        self._sources[name] = evolve_source(source, event, self._position)  # type: ignore[arg-type]
        if isinstance(event, RunEnded):
            self._count(event.counts)
        if changes_rules(event):
            for uid in self._presences:
                self._show(uid, at)

    def _show(self, uid: str, at: Instant) -> None:
        shown = self._derive(uid, at).status
        if shown != self.status(uid):
            self.transitions.setdefault(uid, []).append(((at - self._started_at) / SECOND, shown))

    def _derive(self, uid: str, at: Instant) -> Derived:
        assert longest_grace(self._sources) == 0
        return derive(self._presences[uid], self._sources, at)

    def _count(self, counts: RunCounts) -> None:
        self.looked += counts.looked
        self.corrected += counts.corrected


def _until(shown: list[tuple[float, str]], end: float) -> Iterator[tuple[float, str]]:
    return (transition for transition in shown if transition[0] <= end)
