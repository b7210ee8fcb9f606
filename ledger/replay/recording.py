"""Replay: a recording through the very functions that ingest and reconciliation run, on a virtual clock, in memory."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ledger.domain.events import BodyRejected, Configured, DeliveryReceived, ItemRejected, Status, WebhookObserved
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import RULES_VERSION, Policy
from ledger.domain.reconciliation_events import (
    Corrected,
    NodeBooted,
    NodeDown,
    NodeSettled,
    SourceDark,
    SourceLit,
    Swept,
    TierSet,
)
from ledger.domain.source import SourceState
from ledger.ingest.draft import Draft, read_webhook
from ledger.replay.comparison import count_verdicts
from ledger.replay.recorded_world import RecordedWorld
from ledger.replay.shown import ShownStatuses, Transition
from ledger.sources.wukongim.recording import RecordedLine, RecordedPoll, RecordedWebhook, RecordingHeader
from ledger.store.mapper import Recorded

SOURCE = "main"
REJECTED_BYTES = 65536


Listener = Callable[[Recorded, Instant], None]


class UserStory(NamedTuple):
    """What was shown of one user: each change with its instant in the recording's seconds."""

    status: Status
    transitions: list[tuple[float, Status]]
    events: int


@dataclass
class ReplayResult:
    """The outcome of a replay; counts are of users' events."""

    users: dict[str, UserStory] = field(default_factory=dict)
    """At the end."""
    verdicts: Counter[str] = field(default_factory=Counter)
    deliveries: int = 0
    repeated: int = 0
    rejected: int = 0
    events: int = 0
    corrections: int = 0
    looks: int = 0

    def as_dict(self) -> dict[str, Any]:
        """As `replay --json` prints it."""
        return {
            "users": {
                uid: {"status": story.status, "transitions": story.transitions, "events": story.events}
                for uid, story in sorted(self.users.items())
            },
            "verdicts": dict(sorted(self.verdicts.items())),
            "corrections": self.corrections,
            "rejected": self.rejected,
            "looks": self.looks,
            "events": self.events,
        }


class Replay:
    """One run of the rules; the shown status of each user is followed through every instant.

    `listen` is told of each event, in the order of their positions, with the instant at which it would be recorded.
    """

    def __init__(self, header: RecordingHeader, policy: Policy, listen: Listener | None = None) -> None:
        self._header = header
        self._listen = listen or (lambda event, at: None)
        self._draft = Draft({SOURCE: SourceState(SOURCE)}, {}, 0, REJECTED_BYTES)
        self._policy = policy
        self._shown = ShownStatuses(self._draft)
        self._events: Counter[str] = Counter()
        """Of each user."""
        self._nodes: set[str] = set()
        self._world = RecordedWorld(self._draft, SOURCE)
        self.result = ReplayResult()

    def run(self, lines: Iterable[RecordedLine]) -> Iterator[Instant]:
        """Judge them in order; yields each instant reached, for a progress bar."""
        for number, line in enumerate(lines):
            at = line if isinstance(line, Instant) else line.at
            self._let_pass(at)
            if not isinstance(line, Instant) and line.node not in self._nodes:
                self._nodes.add(line.node)
                self._configure(at)
            if isinstance(line, RecordedWebhook):
                self._receive(number, line)
            elif isinstance(line, RecordedPoll):
                self._take(self._world.poll(line), at)
            yield at
        self.result.looks = self._world.looks
        self.result.users = {uid: self._story(uid, transitions) for uid, transitions in self._shown.users.items()}

    def _receive(self, number: int, recorded: RecordedWebhook) -> None:
        webhook = read_webhook(f"replayed-{number}", SOURCE, recorded.node, recorded.at, recorded.body, REJECTED_BYTES)
        events = list(self._draft.add(webhook))
        self._take(events, recorded.at)
        self._take(self._world.heard(events, recorded.at), recorded.at)

    def _take(self, events: Iterable[Recorded], at: Instant) -> None:
        """Count events, and note what they change of what is shown."""
        for event in events:
            self._listen(event, at)
            match event.event:
                case WebhookObserved() | Corrected() | Swept() | TierSet() as of_user if event.uid is not None:
                    self._count(event.uid, of_user)
                    self._shown.moved([event.uid], at)
                case ItemRejected(following=following):
                    self.result.rejected += 1 + len(following)
                case BodyRejected():
                    self.result.rejected += 1
                case DeliveryReceived() as delivery:
                    self.result.deliveries += 1
                    self.result.repeated += delivery.repeats is not None
                case NodeDown() | NodeBooted() | NodeSettled() | SourceDark() | SourceLit():
                    self._shown.all_moved(at)

    def _configure(self, at: Instant) -> None:
        """A node that was not heard of before: the configuration that names it."""
        profile = self._header.profile
        nodes = dict.fromkeys(sorted(self._nodes), profile)
        event = Configured(
            at=at,
            instance="replay",
            policy=self._policy,
            profile=profile,
            nodes=nodes,
            rules_version=RULES_VERSION,
        )
        self._listen(self._draft.append_to_source(SOURCE, event), at)

    def _count(self, uid: str, event: WebhookObserved | Corrected | Swept | TierSet) -> None:
        self.result.events += 1
        self.result.verdicts.update(count_verdicts(event))
        if isinstance(event, Corrected):
            self.result.corrections += event.drift is not None
        self._events[uid] += 1

    def _story(self, uid: str, transitions: Sequence[Transition]) -> UserStory:
        status = transitions[-1][1] if transitions else "unknown"
        began = self._header.started_at
        return UserStory(status, [(round((at - began) / SECOND, 6), to) for at, to in transitions], self._events[uid])

    def _let_pass(self, until: Instant) -> None:
        """Show what time alone changes up to that instant."""
        for at, events in self._world.advance(until):
            self._shown.let_pass(at)
            self._take(events, at)
        self._shown.let_pass(until)
