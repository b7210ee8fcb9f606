"""What the timeline tells of an event that changed something: the shapes of its entries, by kind of entry."""

from typing import Literal, TypeAlias

import msgspec

from ledger.domain.events import Status, Verdict
from ledger.domain.instants import Timestamp
from ledger.domain.override_events import WhyEnded, Word
from ledger.domain.reconciliation_events import Attribution, DriftKind, Tier


class SessionName(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A session of an entry; `node` is null where the source counts its nodes as one."""

    node: str | None
    device_flag: int | None
    conn_id: int | None
    held_by: str | None = None


class ChangeEntry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A webhook's item that flipped the status, or changed sessions and not the status; what it lacks is none."""

    kind: Literal["transition", "sessions"]
    position: int
    at: Timestamp
    source: str
    node: str
    status_before: Status
    status_after: Status
    verdict: Verdict
    rule: str
    device_flag: int
    conn_id: int
    delivery: str
    item: int
    raw: str
    named: bool = False
    repeated: bool = False
    swept: tuple[SessionName, ...] = ()
    implied: int = 0
    implied_elsewhere: int = 0
    withdrawn: int = 0
    withdrawn_elsewhere: int = 0
    resumes: Timestamp | None = None
    suspect: str | None = None
    unbelieved: int = 0


class CorrectionEntry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a poll changed; the drift began after `agreed_at` and before `disagreed_at`."""

    kind: Literal["correction"]
    position: int
    at: Timestamp
    source: str
    node: str
    status_before: Status
    status_after: Status
    rule: str
    drift: DriftKind | None
    agreed_at: Timestamp | None
    disagreed_at: Timestamp | None
    asked_at: Timestamp
    looks: int
    attributed_to: Attribution | None
    poll: str
    run: str
    opened: tuple[SessionName, ...] = ()
    closed: tuple[SessionName, ...] = ()
    located: tuple[SessionName, ...] = ()
    resumes: Timestamp | None = None


class SweepEntry(msgspec.Struct, frozen=True, gc=False):
    """Sessions that ended with their node, after `earliest` and before `latest`; `evidence` is a position."""

    kind: Literal["sweep"]
    position: int
    at: Timestamp
    source: str
    node: str
    status_before: Status
    status_after: Status
    rule: Literal["restart", "node_retired"]
    ended: tuple[SessionName, ...]
    earliest: Timestamp | None
    latest: Timestamp | None
    evidence: int
    run: str


class TierEntry(msgspec.Struct, frozen=True, gc=False):
    """How soon the user is looked at, from here on."""

    kind: Literal["tier"]
    position: int
    at: Timestamp
    status_before: Status
    status_after: Status
    tier: Tier | None
    by: str


class OverrideEntry(msgspec.Struct, frozen=True, gc=False):
    """An operator's word: shown in place of the status by evidence until `expires_at` at the latest."""

    kind: Literal["override"]
    position: int
    at: Timestamp
    status_before: Status
    status_after: Status
    status: Word
    reason: str
    by: str
    expires_at: Timestamp
    until_evidence: bool


class OverrideEndEntry(msgspec.Struct, frozen=True, gc=False):
    """Since when the user is shown by evidence again, or by the next word; `by` where somebody ended it."""

    kind: Literal["override_ended"]
    position: int
    at: Timestamp
    status_before: Status
    status_after: Status
    status: Word
    why: WhyEnded
    by: str | None


class BeginningEntry(msgspec.Struct, frozen=True, gc=False):
    """The record begins here: the state that the user had, imported from another ledger, where it had that version."""

    kind: Literal["imported"]
    position: int
    at: Timestamp
    status_before: Status
    status_after: Status
    version: int
    """Of the user's stream there."""
    sessions: tuple[SessionName, ...]


Entry: TypeAlias = (
    ChangeEntry | CorrectionEntry | SweepEntry | TierEntry | OverrideEntry | OverrideEndEntry | BeginningEntry
)
