"""The events of reconciliation: what polls and probes said, and what was done about it, each with its evidence.

Of users: corrected, swept, tier_set. Of sources: polls that said something new, runs, nodes down and booted, darkness,
the breaker. Instants are microseconds since the epoch. A field's default is left out of the stored form.
"""

from typing import Literal, TypeAlias

import msgspec

from ledger.domain.events import SessionId, Status
from ledger.domain.observation import Instant

Tier: TypeAlias = Literal["vip", "normal", "cold"]

DriftKind: TypeAlias = Literal["ghost", "missed", "devices"]
"""We say online and the poll does not; the poll says online and we do not; both say so, of other devices."""

Outcome: TypeAlias = Literal["open", "held", "corrected", "cleared", "in_flight"]
"""A second look is to come; the breaker holds it; corrected; we were right, or events have overtaken the question;
a webhook on its way said the same."""

UNFINISHED: frozenset[Outcome] = frozenset({"open", "held"})
"""The outcomes of a drift that goes on."""

RunScope: TypeAlias = Literal["rotation", "start", "restart", "retired", "manual"]
"""The looks in turn and out of turn, a minute of them; everybody when an instance begins to lead; what a boot of a node
or its retirement ends; what was asked for by hand."""

Attribution: TypeAlias = Literal["node", "restart", "sender", "upstream_defect", "gap"]
"""Why webhooks did not say it: their node is down; it booted; its sender is silent or drops; a defect of its version
is known to silence the user; an unexplained gap."""


class OpenedSession(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A session that a poll told of; `conn_id` is None where the poll named none, `held_by` where not its node."""

    scope: str
    device_flag: int | None
    conn_id: int | None
    node: str
    held_by: str | None = None


class Located(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A session that we know, and the node that holds it."""

    session: SessionId
    held_by: str
    seen: bool = True
    """Seen there; else it follows from being nowhere else, which does not prove that the session lives."""


class Corrected(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """What a poll changed of a user's sessions. `received_at` is the instant of its answer."""

    source: str
    node: str
    received_at: Instant
    rule: str
    status_before: Status
    status_after: Status
    run: str
    poll: str
    """The poll's own event stands before this one in the ledger, in the same commit."""
    asked_at: Instant
    drift: DriftKind | None
    """None where the poll only told more: which node holds a session, or that a user never observed is away."""
    attributed_to: Attribution | None = None
    agreed_at: Instant | None = None
    """The last look, or else evidence, that agreed with us: the drift began later."""
    disagreed_at: Instant | None = None
    """The answer of the first look that did not: the drift began before."""
    looks: int = 1
    """How many looks said so."""
    opened: tuple[OpenedSession, ...] = ()
    closed: tuple[SessionId, ...] = ()
    located: tuple[Located, ...] = ()
    verdict: Literal["corrected"] = "corrected"
    resumes: Instant | None = None
    """Online again within the grace period: shown online since then, as if never gone."""


class Swept(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """Sessions that ended with their node: it booted, or it was retired. `received_at` is when we learnt of it."""

    source: str
    node: str
    received_at: Instant
    rule: Literal["restart", "node_retired"]
    status_before: Status
    status_after: Status
    ended: tuple[SessionId, ...]
    run: str
    evidence: int
    """The position of the event that proves it: `node_booted` or `configured`."""
    earliest: Instant | None = None
    """They ended after this, their last evidence, …"""
    latest: Instant | None = None
    """… and before this, the end of the boot's interval."""
    verdict: Literal["swept"] = "swept"


class TierSet(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A tier was chosen for a user by API; None gives the choice back to the rules."""

    received_at: Instant
    tier: Tier | None
    by: str
    """The API key's name."""
    status_before: Status
    status_after: Status
    verdict: Literal["tier_set"] = "tier_set"
    rule: str = "tier_set_by_api"


class Finding(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a poll made of one user's drift: `agreed_at` and `disagreed_at` are its bounds, as in `Corrected`."""

    uid: str
    drift: DriftKind
    outcome: Outcome
    agreed_at: Instant | None
    disagreed_at: Instant
    attributed_to: Attribution | None = None


class PollObserved(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A poll that said something new; one that only agreed with us leaves no event."""

    poll: str
    run: str
    node: str
    route: str
    asked_at: Instant
    answered_at: Instant
    head: int
    """The ledger's last position when it was sent: the fence."""
    asked: int
    """Users asked about; with `/connz`, connections named."""
    agreed: int
    findings: tuple[Finding, ...]
    rows: dict[str, str] = {}
    """What the answer said of each user with something new: `0:2 1:1`, a connection count for each device flag; of
    `/connz` `n1/17:0@1796000150 n2/5`, each connection's node and connId, its device flag where the label tells it, and
    the Unix second of its begin where its uptime does."""


class RunStarted(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A reconciliation run began."""

    run: str
    at: Instant
    instance: str
    scope: RunScope
    node: str | None = None
    """The node that booted, of a run after a restart."""
    users: int | None = None
    """Users to be looked at, where that was known at once."""
    uids: tuple[str, ...] = ()
    """Those that the caller of a manual run named. None of them: everybody if `users` is None, too; else a slice has
    cut them out, and all that is told is that the run began."""


class RunCounts(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """What a run came to, so far or in all; users, but for `polls`."""

    polls: int = 0
    failed_polls: int = 0
    looked: int = 0
    agreed: int = 0
    drifted: int = 0
    corrected: int = 0
    cleared: int = 0
    in_flight: int = 0
    held: int = 0
    swept: int = 0
    failed: int = 0
    """Users whose look failed."""
    overdue: int = 0
    """Users who waited longer than their tier's bound because the budget could not hold it."""


class RunEnded(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A run's end; `interrupted` is written by the instance that leads after the one whose run it was."""

    run: str
    at: Instant
    started_at: Instant
    scope: RunScope
    outcome: Literal["completed", "interrupted"]
    counts: RunCounts
    node: str | None = None
    failures: dict[str, str] = {}
    """By node: the last reason why a poll of it failed in this run."""


class NodeDown(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A node's API stopped answering: what only that node holds is not known."""

    node: str
    at: Instant
    since: Instant
    """The first probe that failed."""
    reason: str


class NodeBooted(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A node is proven to have booted, at some instant of the interval."""

    node: str
    at: Instant
    earliest: Instant
    latest: Instant
    route: str
    node_id: int | None = None
    first: bool = False
    """The first boot that we learn of: nothing was known to be connected before it."""


class NodeSettled(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A node that was down answers as before, or what its boot ended has been swept: it is believed again."""

    node: str
    at: Instant
    booted: bool = False


class SourceDark(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """For longer than the policy allows neither a webhook nor a good poll came: nothing is known of its users."""

    at: Instant
    since: Instant
    """The last sign of it."""


class SourceLit(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A source that was dark speaks again."""

    at: Instant
    by: Literal["webhook", "poll"]


class BreakerOpened(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Too many online users were said to be offline at once: corrections to offline are held."""

    at: Instant
    looked: int
    """Online users looked at within the window."""
    missing: int
    window_seconds: float
    until: Instant


class BreakerClosed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Corrections to offline are made again."""

    at: Instant


UserReconciled: TypeAlias = Corrected | Swept | TierSet
SourceReconciled: TypeAlias = (
    PollObserved
    | RunStarted
    | RunEnded
    | NodeDown
    | NodeBooted
    | NodeSettled
    | SourceDark
    | SourceLit
    | BreakerOpened
    | BreakerClosed
)
