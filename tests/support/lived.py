"""A life at random: what clients, nodes, webhooks and polls did for a while, as the events that it left."""

from collections.abc import Iterator
from itertools import groupby
from random import Random

from msgspec.structs import replace

from ledger.domain.event_types import SourceEvent, UserEvent
from ledger.domain.observation import Instant
from ledger.domain.override_events import Word
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import SourceDark, SourceLit
from ledger.ingest.append import append
from ledger.ingest.draft import Draft
from ledger.store.ledger import Ledger
from ledger.store.mapper import Recorded
from tests.support.driven import Driven, Fate
from tests.support.reconciler import SOURCE, Kept

USERS = ("alice", "bob", "u-1-2", "用户")
CLUSTERS: tuple[tuple[Profile, tuple[str, ...]], ...] = (
    (Profile.V1, ("n1",)),
    (Profile.V2_1, ("n1",)),
    (Profile.V2_2, ("n1", "n2")),
    (Profile.V3, ("n1",)),
    (Profile.V3, ("n1", "n2")),
)
POLICY = Policy(
    tier_vip_seconds=4.0, tier_normal_seconds=8.0, tier_cold_seconds=16.0, breaker_minimum=100, dark_seconds=0.0
)
FATES: tuple[Fate, ...] = ("heard", "heard", "on its way", "lost")


class Life:
    """Steps at random. `moments` are the instants between them, each with the number of events so far."""

    def __init__(self, draw: Random, *, overrides: bool = False) -> None:
        self._draw = draw
        self._overrides = overrides
        self._profile, self._nodes = draw.choice(CLUSTERS)
        self.world = Driven(self._profile, self._nodes, POLICY, USERS, lambda _: None)
        self.ledger, self.cluster = self.world.ledger, self.world.cluster
        self.moments: list[tuple[Instant, int]] = []

    def step(self) -> None:
        """Something happens, and a little time passes."""
        draw = self._draw
        happens = (self._connect, self._connect, self._close, self._look, self._look, self._arrive, self._fail)
        draw.choice((*happens, self._override) if self._overrides else happens)()
        self._note_ends()
        self.ledger.pass_time(draw.choice((0.05, 0.5, 1.0, 3.0, 6.0)))
        self.moments.append((self.ledger.at, len(self.ledger.kept)))

    def _connect(self) -> None:
        node = self._draw.choice(self._nodes)
        if node not in self.cluster.down:
            self.cluster.connect(self._draw.choice(USERS), self._draw.choice((0, 0, 1, 4)), node)
            self.world.send(self._draw.choice(FATES))

    def _close(self) -> None:
        uid = self._draw.choice(USERS)
        if self.cluster.open[uid]:
            self.cluster.close(uid, self._draw.choice(self.cluster.open[uid]))
            self.world.send(self._draw.choice(FATES))

    def _look(self) -> None:
        if self.ledger.source.dark_since is not None:
            self.ledger.append(SourceLit(at=self.ledger.at, by="poll"))
        for node in self._nodes:
            self.world.probe(node)
        self.world.ask_due()
        self.ledger.pass_time(0.1)
        self.world.answer_all()

    def _arrive(self) -> None:
        if self.world.in_flight:
            self.world.hear(*self.world.in_flight.pop(0))

    def _fail(self) -> None:
        """A node crashes or comes back, a source goes dark or speaks, somebody changes the policy."""
        draw, source = self._draw, self.ledger.source
        match draw.randrange(4):
            case 0 if self.cluster.down:
                self.cluster.boot(draw.choice(sorted(self.cluster.down)), self.ledger.at, 0.0)
            case 0:
                self.cluster.crash(draw.choice(self._nodes), self.ledger.at)
            case 1 if source.dark_since is None:
                self.ledger.append(SourceDark(at=self.ledger.at, since=self.ledger.at - 1))
            case 1:
                self.ledger.append(SourceLit(at=self.ledger.at, by="webhook"))
            case _:
                policy = replace(source.policy, grace_seconds=draw.choice((0.0, 0.0, 2.0, 10.0)))
                self.ledger.configure(source.node_profiles, self._profile, policy)

    def _override(self) -> None:
        """Somebody says what is to be shown of a user who was observed, or has that ended."""
        draw = self._draw
        observed = [uid for uid in USERS if self.ledger.presence(uid).flip is not None]
        if not observed:
            return
        uid = draw.choice(observed)
        word = self.ledger.presence(uid).override
        if word is not None and word.holds(self.ledger.at) and draw.random() < 0.3:
            self.ledger.end_override(uid, "deleted")
        else:
            status: Word = draw.choice(("online", "offline"))
            seconds = draw.choice((1.0, 4.0, 15.0))
            self.ledger.override(uid, status, seconds, until_evidence=draw.random() < 0.5)

    def _note_ends(self) -> None:
        """Ends by time are put on record, sooner or later."""
        for uid in USERS if self._overrides and self._draw.random() < 0.5 else ():
            word = self.ledger.presence(uid).override
            if word is not None and not word.holds(self.ledger.at):
                self.ledger.end_override(uid, "expired")


def lived(seed: int, steps: int, *, overrides: bool = False) -> Life:
    """A life of so many steps, in which operators have their say, too, or have none."""
    life = Life(Random(seed), overrides=overrides)
    for _ in range(steps):
        life.step()
    return life


def pour(ledger: Ledger, events: list[Kept]) -> None:
    """Append events to a ledger in PostgreSQL, where they get the positions that they have, commit by commit."""
    for _, batch in groupby(events, key=lambda kept: kept.batch):
        _append(ledger, list(batch))


def _append(ledger: Ledger, batch: list[Kept]) -> None:
    def decide(draft: Draft) -> Iterator[Recorded]:
        for kept in batch:
            if isinstance(kept.event, UserEvent) and kept.uid is not None:
                yield draft.append_to_user(kept.uid, kept.event)
            elif isinstance(kept.event, SourceEvent):
                yield draft.append_to_source(SOURCE, kept.event)
            assert draft.head == kept.position

    append(ledger, {SOURCE: None}, {kept.uid for kept in batch if kept.uid is not None}, decide)
