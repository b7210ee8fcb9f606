"""Scenarios to be explained: a ledger in memory to which webhooks, looks and whatever else happens are added."""

from typing import Any

from ledger.domain.event_types import SourceEvent, UserEvent
from ledger.domain.events import Configured, SessionId, Status
from ledger.domain.evidence import Evidence
from ledger.domain.explain import explain
from ledger.domain.observation import SECOND, Instant
from ledger.domain.override_events import WhyEnded, Word
from ledger.domain.policy import DEFAULT_POLICY, Policy
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Corrected, Finding, OpenedSession, Outcome, PollObserved, Swept
from ledger.domain.source import SourceState
from ledger.domain.statement import Explanation, Statement
from ledger.ingest.draft import Draft, read_webhook
from ledger.simulator.sender import encode
from projections.queries.evidence import gather
from tests.support.claims import problems
from tests.support.memory_history import MemoryHistory
from tests.support.overriding import override_end, overriding

STARTED_AT: Instant = 1_800_000_000 * SECOND
SOURCE = "main"
ADDED = "added"
"""Another source, of which nothing is on record but what a scenario says."""


class Told:
    """An explanation, asked for what it says."""

    def __init__(self, explanation: Explanation) -> None:
        self.explanation = explanation

    @property
    def codes(self) -> list[str]:
        return [statement.code for statement in self.explanation.statements]

    @property
    def answer(self) -> tuple[str, str, str]:
        """The headline, the level and the reason of the confidence."""
        return self.codes[0], self.explanation.confidence, next(s for s in self.about("confidence")).code

    def about(self, about: str) -> list[Statement]:
        return [statement for statement in self.explanation.statements if statement.about == about]

    def the(self, code: str) -> Statement:
        """The one statement of that code."""
        [found] = [statement for statement in self.explanation.statements if statement.code == code]
        return found


class Explaining:
    """Time passes only where it is told to; whatever happens is recorded at once."""

    def __init__(
        self, profile: Profile = Profile.V2_2, nodes: tuple[str, ...] = ("n1",), policy: Policy = DEFAULT_POLICY
    ) -> None:
        self.at = STARTED_AT
        self.history = MemoryHistory()
        self._draft = Draft({name: SourceState(name) for name in (SOURCE, ADDED)}, {}, 0)
        self._profile, self._deliveries = profile, 0
        self.configure(nodes, policy)

    def configure(self, nodes: tuple[str, ...], policy: Policy) -> None:
        """The configuration from here on."""
        named = dict.fromkeys(nodes, self._profile)
        profile = self._profile
        self.says(Configured(at=self.at, instance="i", policy=policy, profile=profile, nodes=named, rules_version=1))

    def wait(self, seconds: float) -> "Explaining":
        """Time passes."""
        self.at += round(seconds * SECOND)
        return self

    def hears(self, *items: str, node: str = "n1", recorded_later: float = 0.0, source: str = SOURCE) -> "Explaining":
        """A delivery comes, and is recorded so much later."""
        self._deliveries += 1
        webhook = read_webhook(f"d{self._deliveries}", source, node, self.at, encode(items), 65536)
        self.wait(recorded_later)
        for recorded in self._draft.add(webhook):
            self.history.add(recorded, self.at)
        return self

    def says(self, event: SourceEvent, source: str = SOURCE) -> "Explaining":
        """An event of the source."""
        self.history.add(self._draft.append_to_source(source, event), self.at)
        return self

    def happens(self, event: UserEvent, uid: str = "u") -> "Explaining":
        """An event of a user."""
        self.history.add(self._draft.append_to_user(uid, event), self.at)
        return self

    def looks(
        self, outcome: Outcome | None, disagreed: float = 0.0, agreed: float | None = None, **fields: Any
    ) -> "Explaining":
        """A poll answers, and finds a ghost of `u`; `disagreed` and `agreed` are seconds ago."""
        bounds = (None if agreed is None else self.ago(agreed)), self.ago(disagreed)
        found = () if outcome is None else (Finding("u", "ghost", outcome, *bounds),)
        poll = PollObserved(
            poll=f"p{self.history.head()}",
            run="r",
            node="n1",
            route="POST /user/onlinestatus",
            asked_at=self.at,
            answered_at=self.at,
            head=self.history.head(),
            asked=1,
            agreed=0,
            findings=found,
            rows={"u": ""},
        )
        return self.says(_changed(poll, fields))

    def corrects(self, rule: str, before: Status, after: Status, **fields: Any) -> "Explaining":
        """A correction, citing the poll that came last."""
        event = Corrected(
            source=SOURCE,
            node="n1",
            received_at=self.at,
            rule=rule,
            status_before=before,
            status_after=after,
            run="r",
            poll=f"p{self.history.head() - 1}",
            asked_at=self.at,
            drift="missed" if after == "online" else "ghost",
            disagreed_at=self.at,
            opened=(OpenedSession("", 0, None, "n1"),) if after == "online" else (),
            closed=(SessionId("", 0, 1),) if before == "online" else (),
        )
        return self.happens(_changed(event, fields))

    def sweeps(self, evidence: int, **fields: Any) -> "Explaining":
        """The connection 1 of `u` ends with its node."""
        event = Swept(
            source=SOURCE,
            node="n1",
            received_at=self.at,
            rule="restart",
            status_before="online",
            status_after="offline",
            ended=(SessionId("", 0, 1),),
            run="r",
            evidence=evidence,
        )
        return self.happens(_changed(event, fields))

    def overrides(
        self, status: Word, seconds: float = 60.0, *, until_evidence: bool = False, uid: str = "u"
    ) -> "Explaining":
        """An operator says what is to be shown of a user."""
        return self.happens(overriding(self._draft.presence(uid), status, self.at, seconds, until_evidence), uid)

    def ends_override(self, why: WhyEnded, by: str | None = None, uid: str = "u") -> "Explaining":
        """Its end is put on record."""
        presence = self._draft.presence(uid)
        assert presence.override is not None
        return self.happens(override_end(presence, presence.override.status, why, self.at, by), uid)

    def ago(self, seconds: float) -> Instant:
        """An instant so long ago."""
        return self.at - round(seconds * SECOND)

    def evidence(
        self, ago: float = 0.0, uid: str = "u", position: int | None = None, known_at: Instant | None = None
    ) -> Evidence:
        """What is gathered of an instant so long ago, as was known then or up to a position."""
        at = self.ago(ago)
        return gather(self.history, uid, at, self.history.position_at(at) if position is None else position, known_at)

    def told(
        self, ago: float = 0.0, uid: str = "u", position: int | None = None, known_at: Instant | None = None
    ) -> Told:
        """The explanation of that; whatever it says has been checked."""
        explanation = explain(self.evidence(ago, uid, position, known_at))
        wrong = list(problems(self.history.rows, explanation))
        assert not wrong, wrong
        return Told(explanation)


def _changed(event: Any, fields: dict[str, Any]) -> Any:
    values = {name: getattr(event, name) for name in event.__struct_fields__}
    return type(event)(**{name: value for name, value in (values | fields).items() if name != "verdict"})


def online(policy: Policy = DEFAULT_POLICY) -> Explaining:
    """`u` has been online for ten seconds."""
    return Explaining(policy=policy).wait(1).hears("u-0-1-1-1-1").wait(10)
