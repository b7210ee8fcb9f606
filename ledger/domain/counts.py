"""What an item's counts say of other connections than its own: zero sweeps, more than we know implies."""

from collections.abc import Iterator

import msgspec

from ledger.domain.events import SessionId, Verdict
from ledger.domain.observation import SECOND, Observation
from ledger.domain.policy import Policy
from ledger.domain.presence import Device, Presence, session_ids
from ledger.domain.profile import Counting

MAX_UNNAMED = 64
"""A count or a node's rows may claim any number: at most so many sessions of a device flag and source are believed
without a name."""


ALREADY_OPEN = "online_already_open"


class Situation(msgspec.Struct, frozen=True, gc=False):
    """An observation with what the rules hold against it."""

    observation: Observation
    presence: Presence
    counting: Counting
    scope: str
    """The node, where the source counts node by node, else empty."""
    device: Device | None
    """The observation's own device."""
    policy: Policy

    @property
    def reorder(self) -> int:
        """The reorder window, microseconds."""
        return round(self.policy.reorder_seconds * SECOND)

    def room(self, device_flag: int | None, freed: int) -> int:
        """How many more sessions of a device flag may be believed without a name, once so many of them are gone."""
        source = self.observation.source
        alike = [d.unnamed() for d in self.presence.devices if d.device_flag == device_flag and d.source == source]
        return max(0, MAX_UNNAMED - sum(alike) + freed)

    def in_scope(self) -> Iterator[Device]:
        """The user's devices that the observation's total counts."""
        for device in self.presence.devices:
            if device.source == self.observation.source and device.scope == self.scope:
                yield device


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """The verdict on the item's own connection."""

    verdict: Verdict
    rule: str
    named: bool = False
    use_counts: bool = True
    placed: bool = False
    """Its connection is one that a look told of without its node: none of those that the node's counts are held to."""
    suspect: str | None = None

    @property
    def own(self) -> int:
        """By how many the sessions known become more or fewer by the item's own connection."""
        if self.verdict == "opened":
            return 0 if self.named else 1
        return -1 if self.verdict == "closed" else 0


class Effect(msgspec.Struct, frozen=True, gc=False):
    """What an item's counts do to other sessions than its own."""

    swept: tuple[SessionId, ...] = ()
    implied: int = 0
    implied_elsewhere: int = 0
    withdrawn: int = 0
    withdrawn_elsewhere: int = 0
    unbelieved: int = 0
    """Sessions that the counts claim beyond those that are believed."""
    emptied: bool = False
    suspect: str | None = None

    @property
    def changes_sessions(self) -> bool:
        """Whether it ends sessions, or tells of new ones."""
        return bool(self.swept or self.implied or self.implied_elsewhere or self.withdrawn or self.withdrawn_elsewhere)


NO_EFFECT = Effect()


def count(situation: Situation, judgement: Judgement) -> Effect:
    """Hold the item's counts against the sessions known: zero sweeps, more than known implies."""
    claim = situation.observation.claim
    if not claim.online and claim.total_count == 0:
        return _sweep_all(situation, judgement)
    left_out = 1 if situation.counting.online_counts_before and _is_open(judgement) else 0
    own, own_unnamed = _known(situation.device, judgement)
    swept: tuple[SessionId, ...] = ()
    claimed_own = implied = withdrawn = 0
    if not claim.online and claim.device_count == 0:
        swept = _own_swept(situation.device, judgement, claim.conn_id)
    else:
        claimed_own, withdrawn = _adjust(own, own_unnamed, claim.device_count + left_out)
    if claimed_own:
        implied = min(claimed_own, situation.room(claim.device_flag, freed=1 if judgement.named else 0))
    elsewhere, unlocated = _known_elsewhere(situation)
    total = own - len(swept) + claimed_own - withdrawn + elsewhere
    claimed_elsewhere, withdrawn_elsewhere = _adjust(total, unlocated, claim.total_count + left_out)
    implied_elsewhere = min(claimed_elsewhere, situation.room(None, freed=0)) if claimed_elsewhere else 0
    unbelieved = claimed_own - implied + claimed_elsewhere - implied_elsewhere
    if not (swept or claimed_own or claimed_elsewhere or withdrawn or withdrawn_elsewhere):
        return NO_EFFECT
    suspect = "implied_session" if claimed_own or claimed_elsewhere else None
    return Effect(swept, implied, implied_elsewhere, withdrawn, withdrawn_elsewhere, unbelieved, suspect=suspect)


def _is_open(judgement: Judgement) -> bool:
    """Whether the item's own connection is open: where an online's counts leave it out, it has to be added."""
    return judgement.verdict == "opened" or judgement.rule == ALREADY_OPEN


def _adjust(known: int, unnamed: int, claimed: int) -> tuple[int, int]:
    """-> (sessions claimed beyond those known, sessions withdrawn): only those that a count alone told of give way."""
    if claimed > known:
        return claimed - known, 0
    return 0, min(unnamed, known - claimed)


def _known(device: Device | None, judgement: Judgement) -> tuple[int, int]:
    """-> (open sessions of the item's device after its own connection's part, those of them without a name)"""
    known, unnamed = (0, 0) if device is None else (len(device.sessions), device.unnamed())
    if judgement.placed and judgement.verdict == "closed":
        return known, unnamed
    return known + judgement.own, unnamed - judgement.named


def _known_elsewhere(situation: Situation) -> tuple[int, int]:
    """-> (open sessions on the scope's other devices, those of them that only a total told of)"""
    known = unlocated = 0
    for device in situation.in_scope():
        if device.device_flag is None:
            unlocated = len(device.sessions)
        if device is not situation.device:
            known += len(device.sessions)
    return known, unlocated


def _own_swept(device: Device | None, judgement: Judgement, conn_id: int) -> tuple[SessionId, ...]:
    """The device's sessions but the one that the item itself closes."""
    if device is None:
        return ()
    sessions = session_ids(device)
    if judgement.verdict != "closed" or judgement.placed:
        return sessions
    own = sessions.index(SessionId(device.scope, device.device_flag, None if judgement.named else conn_id))
    return (*sessions[:own], *sessions[own + 1 :])


def _sweep_all(situation: Situation, judgement: Judgement) -> Effect:
    """Total zero: every session of the scope ends, except what may have opened since where deliveries overtake."""
    claim, at, reorder = situation.observation.claim, situation.observation.received_at, situation.reorder
    swept: list[SessionId] = []
    spared = recent = False
    for device in situation.in_scope():
        own = device is situation.device
        for session in device.sessions:
            if own and session.conn_id == claim.conn_id:
                continue
            young = at - session.opened_at <= reorder
            later = session.conn_id is not None and session.conn_id > claim.conn_id
            if situation.counting.may_overtake and young and later:
                spared = True
                continue
            recent = recent or young
            swept.append(SessionId(device.scope, device.device_flag, session.conn_id))
    if judgement.verdict == "closed" and judgement.named and not judgement.placed:
        swept.remove(SessionId(situation.scope, claim.device_flag, None))
    suspect = "spared_by_sweep" if spared else "sweep_of_recent" if recent and swept else None
    return Effect(swept=tuple(swept), emptied=True, suspect=suspect)
