"""Drift: what a look says of one user, held against what we know of them, and why webhooks did not say it.

Two kinds of looks: rows of `/user/onlinestatus` (connections by device flag), which are compared here, and the union of
all nodes' own `/connz` rows (connections by node and connId), the better evidence, in `connections`.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple
from zlib import crc32

import msgspec

from ledger.domain.counts import MAX_UNNAMED
from ledger.domain.events import SessionId
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import Policy
from ledger.domain.presence import Device, Presence, Session
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Attribution, DriftKind, Located, OpenedSession
from ledger.domain.source import SourceState

SILENCED_SLOT, SLOTS = 0, 64

SILENCING = frozenset({Profile.V2_1, Profile.V2_2})
"""Profiles whose servers never report some users offline (wukongim.md, section 3)."""


class Poll(NamedTuple):
    """A look that was answered. `head` is the ledger's last position when it was sent: the fence."""

    poll: str
    run: str
    node: str
    route: str
    asked_at: Instant
    answered_at: Instant
    head: int


class Doubt(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Sessions that a look did not find, until a second look has spoken."""

    drift: DriftKind
    agreed_at: Instant | None
    """The last look or evidence before that agreed."""
    disagreed_at: Instant
    """The answer of the first look that did not."""
    head: int
    """Nothing of the user has changed since, or the doubt is void."""
    looks: int = 1
    held: bool = False
    """The breaker keeps it from being acted upon."""
    counted: int = 1
    """The looks that count: each but the first was asked long enough after the answer of the one before."""
    counted_at: Instant | None = None
    """The answer of the last of those; None: of the first look."""


class Connection(NamedTuple):
    """A socket that a node says is its own; `device_flag` None where its label does not tell."""

    node: str
    conn_id: int
    device_flag: int | None
    began_at: Instant | None = None
    """By its uptime, and no later than that; a node may say an older one after a boot, never a newer."""


class Difference(NamedTuple):
    """How what a look found differs from what we hold; empty where they agree."""

    opened: tuple[OpenedSession, ...] = ()
    replaced: tuple[SessionId, ...] = ()
    """Sessions without a name that one of `opened` takes the place of."""
    gone: tuple[SessionId, ...] = ()
    """Sessions that the look did not find."""
    proven: tuple[SessionId, ...] = ()
    """Those of them whose node has booted since their last evidence: no second look is needed."""
    located: tuple[Located, ...] = ()
    absent: bool = False
    """A row is missing where that says nothing: `/connz` has to tell."""
    contradicted: int = 0
    """Connections that a node lists though an offline has closed them since: they open nothing again."""


class Held(NamedTuple):
    """An open session, and the device that it is of."""

    device: Device
    session: Session

    @property
    def id(self) -> SessionId:
        return SessionId(self.device.scope, self.device.device_flag, self.session.conn_id)


def held_in(presence: Presence, source: str) -> list[Held]:
    """The user's open sessions in a source."""
    return [Held(d, s) for d in presence.devices if d.source == source for s in d.sessions]


def against_rows(presence: Presence, source: SourceState, node: str, rows: Mapping[int, int]) -> Difference:
    """Hold a user's rows, connections by device flag, against their sessions in the source.

    Rows name no connection: like a count, they make no more than MAX_UNNAMED sessions of a device flag.
    """
    by_flag: dict[int | None, list[Held]] = {}
    for held in held_in(presence, source.name):
        by_flag.setdefault(held.device.device_flag, []).append(held)
    unlocated = deque(by_flag.pop(None, []))
    opened: list[OpenedSession] = []
    replaced: list[SessionId] = []
    gone: list[SessionId] = []
    scope = _scope(source, node)
    for flag, number in sorted(rows.items()):
        known = by_flag.get(flag, ())
        room = MAX_UNNAMED - sum(held.session.conn_id is None for held in known)
        for _ in range(min(number - len(known), room)):
            opened.append(OpenedSession(scope, flag, None, node))
            if unlocated:
                replaced.append(unlocated.popleft().id)
    for device_flag, sessions in by_flag.items():
        surplus = len(sessions) - (0 if device_flag is None else rows.get(device_flag, 0))
        if surplus > 0:
            gone += [held.id for held in sorted(sessions, key=_least_certain_first)[:surplus]]
    gone += [held.id for held in unlocated]
    if not source.absence_tells:
        return Difference(tuple(opened), tuple(replaced), absent=bool(gone) or not rows)
    return Difference(tuple(opened), tuple(replaced), tuple(gone))


def _least_certain_first(held: Held) -> tuple[bool, Instant]:
    return held.session.conn_id is not None, held.session.seen_at


def _scope(source: SourceState, node: str) -> str:
    """Where a session goes that the query told of: its node, where connIds are counted by node and there is but one."""
    return node if source.counting(node).node_local and len(source.node_profiles) == 1 else ""


def is_silenced(uid: str, profile: Profile) -> bool:
    """Whether the server's version never reports the user offline."""
    return profile in SILENCING and crc32(uid.encode(errors="surrogatepass")) % SLOTS == SILENCED_SLOT


def attribute(source: SourceState, uid: str, node: str, drift: DriftKind, agreed_at: Instant | None) -> Attribution:
    """Why webhooks did not say it, as far as we can tell."""
    since = agreed_at or 0
    if any(state.down_since is not None and state.swept for state in source.nodes.values()):
        return "node"
    boots = [state.boot[1] for state in source.nodes.values() if state.boot is not None]
    if agreed_at is not None and any(latest >= agreed_at for latest in boots):
        return "restart"
    if drift == "ghost" and is_silenced(uid, source.node_profiles.get(node, source.profile)):
        return "upstream_defect"
    if source.last_webhook_at is None or source.last_webhook_at < since:
        # Nothing at all has come since we last agreed.
        return "sender"
    return "gap"


def looks_that_count(doubt: Doubt | None, poll: Poll, policy: Policy) -> int:
    """How many looks have disagreed far enough apart, with this one if it was: one out of turn may come too soon."""
    if doubt is None:
        return 1
    last = doubt.disagreed_at if doubt.counted_at is None else doubt.counted_at
    return doubt.counted + (poll.asked_at - last >= round(policy.confirm_seconds * SECOND))
