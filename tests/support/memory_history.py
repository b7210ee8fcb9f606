"""The history that an explanation asks, in memory: the events of a replay, each with its place."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ledger.domain.as_of import Belief, Later, arrived, believe
from ledger.domain.event_types import UserEvent
from ledger.domain.events import (
    BodyRejected,
    Configured,
    DeliveryReceived,
    ServiceStarted,
    ServiceStopped,
)
from ledger.domain.evidence import Placed
from ledger.domain.evolve import evolve
from ledger.domain.observation import Instant
from ledger.domain.presence import Presence
from ledger.domain.reconciliation_events import (
    BreakerClosed,
    BreakerOpened,
    Corrected,
    Finding,
    NodeBooted,
    NodeDown,
    NodeSettled,
    Outcome,
    PollObserved,
    RunStarted,
    SourceDark,
    SourceLit,
    Swept,
)
from ledger.domain.source import SourceState, evolve_source
from ledger.domain.status import derive
from ledger.store.mapper import SOURCE_PREFIX, Recorded
from projections.models.shown import Rules, rules_from
from projections.queries.evidence_rows import MAX_LATER_SOURCE_EVENTS, MAX_RUNS

RULES = Configured | NodeDown | NodeBooted | NodeSettled | SourceDark | SourceLit
SIGNS = NodeDown | NodeBooted | NodeSettled | SourceDark | SourceLit | BreakerOpened | BreakerClosed
SERVICES = ServiceStarted | ServiceStopped
FINISHED = frozenset({"corrected", "cleared", "in_flight"})
DRIFTS = 5


class Drift(NamedTuple):
    """A drift as the projection of that name has it, with the polls that first and last told of it."""

    first: Placed
    last: Placed
    outcome: Outcome
    agreed_at: Instant | None
    disagreed_at: Instant
    ended_at: Instant | None

    def may_be_there(self, at: Instant) -> bool:
        begun_by = self.disagreed_at if self.agreed_at is None else self.agreed_at
        return begun_by <= at and (self.ended_at is None or self.ended_at >= at)


class MemoryHistory:
    """A ledger that grows by `add`, asked as the one in PostgreSQL is."""

    def __init__(self) -> None:
        self.rows: list[Placed] = []
        self._recorded: list[Instant] = []
        self._users: dict[str, list[Placed]] = defaultdict(list)
        self._sources: dict[str, list[Placed]] = defaultdict(list)
        self._rules_told: list[Placed] = []
        self._deliveries: dict[str, Placed] = {}
        self._repeating: dict[str, list[Placed]] = defaultdict(list)
        self._polls: dict[str, Placed] = {}
        self._runs: dict[str, Placed] = {}
        self._found: dict[str, dict[tuple[str, Instant], Drift]] = defaultdict(dict)

    def add(self, recorded: Recorded, at: Instant) -> None:
        """One more event, recorded at that instant or with the one before it."""
        at = max(at, self._recorded[-1]) if self._recorded else at
        of_user = recorded.uid is not None
        source = "" if of_user else recorded.originator_id.removeprefix(SOURCE_PREFIX)
        place = len(self.rows) + 1
        placed = Placed(place, recorded.originator_version, at, source, recorded.uid or "", recorded.event)
        self.rows.append(placed)
        self._recorded.append(at)
        stream = self._users[placed.uid] if of_user else self._sources[source]
        stream.append(placed)
        assert placed.version == len(stream)
        self._index(placed)

    def _index(self, placed: Placed) -> None:
        if isinstance(placed.event, RULES):
            self._rules_told.append(placed)
        match placed.event:
            case DeliveryReceived(delivery=delivery, repeats=repeats):
                self._deliveries[delivery] = placed
                if repeats is not None:
                    self._repeating[repeats].append(placed)
            case BodyRejected(delivery=delivery):
                self._deliveries[delivery] = placed
            case RunStarted(run=run):
                self._runs[run] = placed
            case PollObserved() as poll:
                self._polls[poll.poll] = placed
                for finding in poll.findings:
                    self._note(placed, poll, finding)

    def _note(self, placed: Placed, poll: PollObserved, finding: Finding) -> None:
        """What a poll says of a drift; one whose doubt has become void ends with the next one."""
        drifts = self._found[finding.uid]
        for key, drift in drifts.items():
            if drift.ended_at is None and key[0] == placed.source and drift.disagreed_at < finding.disagreed_at:
                drifts[key] = drift._replace(last=placed, outcome="cleared", ended_at=poll.answered_at)
        key = placed.source, finding.disagreed_at
        first = drifts[key].first if key in drifts else placed
        ended_at = poll.answered_at if finding.outcome in FINISHED else None
        agreed_at = drifts[key].agreed_at if key in drifts else finding.agreed_at
        drifts[key] = Drift(first, placed, finding.outcome, agreed_at, finding.disagreed_at, ended_at)

    @property
    def uids(self) -> Iterable[str]:
        return self._users.keys()

    def head(self) -> int:
        """The last position."""
        return len(self.rows)

    def position_at(self, at: Instant) -> int:
        """The last position recorded up to an instant."""
        return bisect_right(self._recorded, at)

    def believed(self, uid: str, at: Instant, position: int) -> tuple[Belief, Rules]:
        """As `history.as_of` has it."""
        base = min(position, self.position_at(at))
        rules = self._rules(base, position, at)
        stream = self._users.get(uid, [])
        presence = Presence(uid)
        later: list[Later] = []
        for placed in stream:
            event = placed.event
            assert isinstance(event, UserEvent)
            if placed.position <= base:
                presence = evolve(presence, event, placed.position)
            elif placed.position <= position:
                later.append(Later(placed.position, event))
        if base >= position:
            return Belief(presence, derive(presence, rules.sources, at)), rules
        number = arrived(later, at)
        for each in later[:number]:
            presence = evolve(presence, each.event, each.position)
        return believe(presence, later[number:], rules.sources, at), rules

    def _rules(self, base: int, known: int, at: Instant) -> Rules:
        states: dict[str, SourceState] = {}
        last = 0
        for placed in self._rules_told:
            event = placed.event
            assert isinstance(event, RULES)
            if placed.position > known:
                break
            if placed.position > base and event.at > at:
                continue
            states[placed.source] = evolve_source(
                states.get(placed.source) or SourceState(placed.source), event, placed.position
            )
            last = placed.position
        return rules_from(last, states)

    def at(self, positions: Sequence[int]) -> list[Placed]:
        """The events at these positions."""
        return [self.rows[position - 1] for position in sorted(positions) if 0 < position <= len(self.rows)]

    def last_before(self, position: int) -> Placed | None:
        """The event before a position."""
        return self.rows[min(position - 1, len(self.rows)) - 1] if position > 1 and self.rows else None

    def version_at(self, uid: str, position: int) -> int:
        """Of a user's stream, as of a position."""
        return sum(placed.position <= position for placed in self._users.get(uid, ()))

    def user_events(self, uid: str, after: int, up_to: int) -> list[Placed]:
        """A user's events by version."""
        return self._users.get(uid, [])[after:up_to]

    def bounded_events(self, uid: str, after: int, limit: int) -> list[Placed]:
        """Their next corrections and sweeps."""
        found = [placed for placed in self._users.get(uid, [])[after:] if isinstance(placed.event, Corrected | Swept)]
        return found[:limit]

    def delivery(self, delivery: str) -> Placed | None:
        """The event of a delivery."""
        return self._deliveries.get(delivery)

    def repeating(self, delivery: str) -> list[Placed]:
        """The deliveries that repeat it."""
        return self._repeating.get(delivery, [])

    def poll(self, poll: str) -> Placed | None:
        """The event of a poll."""
        return self._polls.get(poll)

    def run(self, run: str) -> Placed | None:
        """The event of a run's begin."""
        return self._runs.get(run)

    def finding(self, uid: str, at: Instant) -> list[Placed]:
        """The first and the last poll of each drift that may have been there at the instant."""
        drifts = sorted(self._found.get(uid, {}).values(), key=lambda drift: -drift.disagreed_at)
        there = [drift for drift in drifts if drift.may_be_there(at)][:DRIFTS]
        return self.at(list({placed.position for drift in there for placed in (drift.first, drift.last)}))

    def signs(self, sources: Sequence[str], position: int, limit: int) -> list[Placed]:
        """Darkness, nodes, the breaker, around a position."""
        found = [placed for source in sources for placed in self._around(source, SIGNS, position, limit)]
        return sorted(found, key=lambda placed: placed.position)

    def services(self, source: str, position: int, limit: int) -> list[Placed]:
        """Starts and stops around a position."""
        return self._around(source, SERVICES, position, limit)

    def _around(self, source: str, kinds: object, position: int, limit: int) -> list[Placed]:
        found = [placed for placed in self._sources.get(source, ()) if isinstance(placed.event, kinds)]  # type: ignore[arg-type]
        earlier = [placed for placed in found if placed.position <= position]
        return earlier[-limit:] + found[len(earlier) : len(earlier) + MAX_LATER_SOURCE_EVENTS]

    def runs_after(self, source: str, position: int) -> list[Placed]:
        """The first few runs that began after a position."""
        begun = [placed for placed in self._sources.get(source, ()) if isinstance(placed.event, RunStarted)]
        return [placed for placed in begun if placed.position > position][:MAX_RUNS]
