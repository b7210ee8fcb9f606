"""Connections: what all nodes list of one user (`/connz`), held against what we know of them."""

from collections import deque
from collections.abc import Sequence

from ledger.domain.drift import Connection, Difference, Held, held_in
from ledger.domain.events import SessionId
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND
from ledger.domain.presence import Presence
from ledger.domain.reconciliation_events import Located, OpenedSession
from ledger.domain.source import SourceState

TOLD_SECONDS = 2.0
"""An offline comes so long after it was true, as a rule: what began within it may be what followed, at another node."""


def against_connections(
    presence: Presence,
    source: SourceState,
    connections: Sequence[Connection],
    *,
    locate: bool,
    silent: str | None,
) -> Difference:
    """Hold a user's connections on all nodes against their sessions.

    `locate`: note which node holds which session. `silent`: the one node that did not answer; what is nowhere else is
    there, if anywhere.
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

    def __init__(self, held: Sequence[Held], source: SourceState) -> None:
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

    def take_named(self, connection: Connection, holder: str | None) -> Held | None:
        """The first that may be that connection, of those that are known to be held there; None: nowhere yet."""
        for number in self._named.get(connection.conn_id, ()):
            held = self._held[number]
            if number in self._taken or not _may_be_of(held.device.device_flag, connection):
                continue
            if self._source.holder(held.device, held.session) == holder:
                self._taken.add(number)
                return held
        return None

    def take_nameless(self, connection: Connection) -> Held | None:
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

    def left(self) -> list[Held]:
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
        (closing := device.closing(connection.conn_id)) is not None and not closing.inferred and closing.at >= since
        for device in presence.devices
        if (device.source, device.scope) == (source.name, scope) and _may_be_of(device.device_flag, connection)
    )


def _may_be_of(flag: int | None, connection: Connection) -> bool:
    """Whether what the label tells of a connection fits that device flag."""
    return flag == connection.device_flag or flag is None or (connection.device_flag is None and flag > 2)


def _booted_since(held: Held, source: SourceState) -> bool:
    """Whether every node that may hold the session has booted since its last evidence, or one has and none may."""
    holder = source.holder(held.device, held.session)
    boots = [
        node.boot is not None and held.session.seen_at < node.boot[0]
        for name, node in source.nodes.items()
        if holder in (None, name)
    ]
    return any(boots)
