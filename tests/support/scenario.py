"""Scenarios of the rules: given a history of items, when one more comes, then this verdict and these effects."""

from typing import Any, NamedTuple

from ledger.domain.decide import decide
from ledger.domain.events import SessionId, WebhookObserved
from ledger.domain.evolve import evolve
from ledger.domain.observation import SECOND, Claim, Instant, Observation, parse_item
from ledger.domain.policy import DEFAULT_POLICY, Policy
from ledger.domain.presence import Presence
from ledger.domain.profile import COUNTING, Profile

STARTED_AT: Instant = 1_800_000_000 * SECOND
PAUSE_SECONDS = 10.0
"""Between two items that do not say: beyond the reorder window, within the dedupe window."""

EFFECTS: dict[str, Any] = {
    "named": False,
    "swept": (),
    "implied": 0,
    "implied_elsewhere": 0,
    "withdrawn": 0,
    "withdrawn_elsewhere": 0,
    "unbelieved": 0,
    "emptied": False,
    "resumes": None,
    "suspect": None,
}
"""What an event has of effects, as it is where there is none."""


class Step(NamedTuple):
    """One item, so many seconds after the one before; `repeats_after` where its delivery repeats an older one."""

    item: str
    after: float = PAUSE_SECONDS
    node: str = "n1"
    source: str = "main"
    repeats_after: float | None = None
    """Seconds since the first delivery of it."""


def format_item(claim: Claim) -> str:
    """The item that `parse_item` reads as this claim."""
    return (
        f"{claim.uid}-{claim.device_flag}-{int(claim.online)}-{claim.conn_id}-{claim.device_count}-{claim.total_count}"
    )


def step(item: "Step | str") -> Step:
    """A plain item comes from n1, after the usual pause."""
    return item if isinstance(item, Step) else Step(item)


def session(conn_id: int | None, flag: int | None = 0, scope: str = "") -> SessionId:
    """A session as an event names it."""
    return SessionId(scope, flag, conn_id)


class Scenario:
    """A user's presence while items come in, judged and folded one by one."""

    def __init__(self, profile: Profile, policy: Policy) -> None:
        self._counting = COUNTING[profile]
        self._policy = policy
        self.presence = Presence("u")
        self.at = STARTED_AT
        self.events: list[WebhookObserved] = []

    def when(self, item: Step | str) -> "Scenario":
        """Judge one more item and fold its event."""
        this = step(item)
        self.at += round(this.after * SECOND)
        claim = parse_item(this.item)
        assert isinstance(claim, Claim)
        first = None if this.repeats_after is None else self.at - round(this.repeats_after * SECOND)
        number = len(self.events)
        observation = Observation(claim, this.source, this.node, f"d{number}", number, this.item, self.at, first)
        event = decide(self._counting, self.presence, observation, self._policy)
        self.events.append(event)
        self.presence = evolve(self.presence, event, len(self.events))
        return self

    def then(self, verdict: str, rule: str, status: str, **effects: Any) -> "Scenario":
        """The last item had this verdict, left this status, and did this and nothing else."""
        event = self.events[-1]
        assert (event.verdict, event.rule, event.status_after) == (verdict, rule, status)
        assert {name: getattr(event, name) for name in EFFECTS} == EFFECTS | effects
        assert self.presence.status == status
        return self

    def left(self, *sessions: SessionId) -> None:
        """Exactly these sessions are open now."""
        found = [session(s.conn_id, d.device_flag, d.scope) for d in self.presence.devices for s in d.sessions]
        assert sorted(found, key=str) == sorted(sessions, key=str)


def given(*history: Step | str, profile: Profile = Profile.V2_2, policy: Policy = DEFAULT_POLICY) -> Scenario:
    """A user after these items."""
    scenario = Scenario(profile, policy)
    for item in history:
        scenario.when(item)
    return scenario
