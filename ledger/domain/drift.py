"""Drift: what a look says of one user, held against what we know of him, and what may be done about it.

Pure. Two kinds of looks: rows of `/user/onlinestatus` (connections by device flag) and the union of all nodes' own
`/connz` rows (connections by node and connId), which is the better evidence.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

import msgspec

from ledger.domain.events import SessionId
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import Policy
from ledger.domain.presence import Device, Presence, Session
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Attribution, DriftKind, Located, OpenedSession
from ledger.domain.source import SourceState

SILENCED_SLOT, SLOTS = 0, 64
TOLD_SECONDS = 2.0
"""An offline comes so long after it was true, as a rule: what began within it may be what followed, at another node."""

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
    """What a look found beside what we hold. Nothing in it: they agree."""

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


class _Held(NamedTuple):
    device: Device
    session: Session

    @property
    def id(self) -> SessionId:
        return SessionId(self.device.scope, self.device.device_flag, self.session.conn_id)


def held_in(presence: Presence, source: str) -> list[_Held]:
    """The user's open sessions in a source."""
    return [_Held(d, s) for d in presence.devices if d.source == source for s in d.sessions]


def against_rows(presence: Presence, source: SourceState, node: str, rows: Mapping[int, int]) -> Difference:
    """Hold a user's rows, connections by device flag, against his sessions in the source."""
    by_flag: dict[int | None, list[_Held]] = {}
    for held in held_in(presence, source.name):
        by_flag.setdefault(held.device.device_flag, []).append(held)
    unlocated = deque(by_flag.pop(None, []))
    opened: list[OpenedSession] = []
    replaced: list[SessionId] = []
    gone: list[SessionId] = []
    scope = _scope(source, node)
    for flag, number in sorted(rows.items()):
        for _ in range(number - len(by_flag.get(flag, ()))):
            opened.append(OpenedSession(scope, flag, None, node))
            if unlocated:
                replaced.append(unlocated.popleft().id)
    for known, sessions in by_flag.items():
        surplus = len(sessions) - (0 if known is None else rows.get(known, 0))
        if surplus > 0:
            gone += [held.id for held in sorted(sessions, key=_least_certain_first)[:surplus]]
    gone += [held.id for held in unlocated]
    if not source.absence_tells:
        return Difference(tuple(opened), tuple(replaced), absent=bool(gone) or not rows)
    return Difference(tuple(opened), tuple(replaced), tuple(gone))


def _least_certain_first(held: _Held) -> tuple[bool, Instant]:
    return held.session.conn_id is not None, held.session.seen_at


def _scope(source: SourceState, node: str) -> str:
    """Where a session goes that the query told of: its node, where connIds are counted by node and there is but one."""
    return node if source.counting(node).node_local and len(source.node_profiles) == 1 else ""


def against_connections(
    presence: Presence,
    source: SourceState,
    connections: Sequence[Connection],
    *,
    locate: bool,
    silent: str | None = None,
) -> Difference:
    """Hold a user's connections on all nodes against his sessions.

    `locate`: note which node holds which session. `silent`: the one node that did not answer; what is nowhere else is
    there, as far as it is anywhere.
    """
    waiting = _Waiting(held_in(presence, source.name), source)
    opened: list[OpenedSession] = []
    replaced: list[SessionId] = []
    located: list[Located] = []
    contradicted = 0
    # Those whose node is known first: in a cluster two nodes may use the same connId.
    unmatched = [each for each in connections if waiting.take_named(each, each.node) is None]
    for connection in unmatched:
        match = waiting.take_named(connection, None)
        if match is not None:
            if locate:
                located.append(Located(match.id, connection.node))
            continue
        if _was_closed(presence, source, connection):
            contradicted += 1
            continue
        flag = connection.device_flag
        nameless = waiting.take_nameless(connection)
        if nameless is not None:
            replaced.append(nameless.id)
            flag = nameless.device.device_flag if flag is None else flag
        scope = connection.node if source.counting(connection.node).node_local else ""
        held_by = None if source.holders_known else connection.node
        opened.append(OpenedSession(scope, flag, connection.conn_id, connection.node, held_by))
    left = waiting.left()
    if silent is not None:
        there = [h for h in left if source.may_hold(h.device, h.session, silent)]
        located += [Located(h.id, silent, seen=False) for h in there if source.holder(h.device, h.session) is None]
        left = [h for h in left if not source.may_hold(h.device, h.session, silent)]
    proven = tuple(h.id for h in left if _booted_since(h, source))
    gone = tuple(h.id for h in left)
    return Difference(tuple(opened), tuple(replaced), gone, proven, tuple(located), contradicted=contradicted)


class _Waiting:
    """Sessions that no connection has been found to be yet, each found by what it is named."""

    def __init__(self, held: Sequence[_Held], source: SourceState) -> None:
        self._held = held
        self._source = source
        self._taken: set[int] = set()
        self._named: dict[int, list[int]] = {}
        self._nameless: dict[int | None, deque[int]] = {}
        """By device flag."""
        for number, each in enumerate(held):
            if each.session.conn_id is not None:
                self._named.setdefault(each.session.conn_id, []).append(number)
            else:
                self._nameless.setdefault(each.device.device_flag, deque()).append(number)

    def take_named(self, connection: Connection, holder: str | None) -> _Held | None:
        """The first that may be that connection, of those that are known to be held there; None: nowhere yet."""
        for number in self._named.get(connection.conn_id, ()):
            held = self._held[number]
            if number in self._taken or not _may_be_of(held.device.device_flag, connection):
                continue
            if self._source.holder(held.device, held.session) == holder:
                self._taken.add(number)
                return held
        return None

    def take_nameless(self, connection: Connection) -> _Held | None:
        """The first that a count or a query told of without its connId."""
        heads = [
            held[0]
            for held in self._nameless.values()
            if held and _may_be_of(self._held[held[0]].device.device_flag, connection)
        ]
        if not heads:
            return None
        held = self._held[min(heads)]
        self._taken.add(self._nameless[held.device.device_flag].popleft())
        return held

    def left(self) -> list[_Held]:
        """Those that no connection was found to be."""
        return [held for number, held in enumerate(self._held) if number not in self._taken]


def _was_closed(presence: Presence, source: SourceState, connection: Connection) -> bool:
    """Whether an offline has closed that very connection: none of its number that began with a later boot or, at
    another node of a cluster, about when the offline came or later."""
    boot = source.nodes.get(connection.node, NodeState()).boot
    since = 0 if boot is None else boot[0]
    if not source.holders_known and connection.began_at is not None:
        since = max(since, connection.began_at + round(TOLD_SECONDS * SECOND))
    scope = connection.node if source.counting(connection.node).node_local else ""
    return any(
        (closing := device.closing(connection.conn_id)) is not None and not closing.by_look and closing.at >= since
        for device in presence.devices
        if (device.source, device.scope) == (source.name, scope) and _may_be_of(device.device_flag, connection)
    )


def _may_be_of(flag: int | None, connection: Connection) -> bool:
    """Whether what the label tells of a connection fits that device flag."""
    return flag == connection.device_flag or flag is None or (connection.device_flag is None and flag > 2)


def _booted_since(held: _Held, source: SourceState) -> bool:
    """Whether every node that may hold the session has booted since its last evidence, or one has and none may."""
    holder = source.holder(held.device, held.session)
    boots = [
        node.boot is not None and held.session.seen_at < node.boot[0]
        for name, node in source.nodes.items()
        if holder in (None, name)
    ]
    return any(boots)


def swept_by_boot(presence: Presence, source: SourceState, node: str) -> tuple[tuple[SessionId, ...], bool]:
    """-> (sessions that ended with the node's last boot, whether others of it are in doubt because of it)"""
    boot = source.nodes[node].boot
    if boot is None:
        return (), False
    ended: list[SessionId] = []
    suspect = False
    for held in held_in(presence, source.name):
        holder = source.holder(held.device, held.session)
        if holder == node and held.session.seen_at < boot[0]:
            ended.append(held.id)
        elif holder in (None, node) and held.session.seen_at <= boot[1]:
            suspect = True
    return tuple(ended), suspect


def swept_by_retirement(
    presence: Presence, source: SourceState, node: str, *, by_sender: bool = False
) -> tuple[tuple[SessionId, ...], bool]:
    """-> (sessions held by a node that the configuration no longer names, whether others may have been)

    Where a cluster counted together, who told of a session says nothing of who held it. `by_sender`: it is the best
    that is known all the same, since no look will tell.
    """
    ended: list[SessionId] = []
    suspect = False
    told_by_holder = by_sender or (source.holders_known and source.clustered_until is None)
    for held in held_in(presence, source.name):
        holder = held.device.scope or held.session.held_by or (held.session.node if told_by_holder else None)
        if holder == node:
            ended.append(held.id)
        suspect = suspect or holder is None
    return tuple(ended), suspect


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
