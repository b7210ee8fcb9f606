"""What a source is to be asked, as far as its answers are to be believed; and the sweeps that follow a boot."""

import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from ledger.domain.drift import Connection
from ledger.domain.events import SessionId, Status
from ledger.domain.look import RETURN_SECONDS, Watch, tier_bound_seconds
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import Policy
from ledger.domain.presence import Presence, Session
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Swept
from ledger.domain.sessions import ended_by
from ledger.domain.source import SourceState
from ledger.domain.sweeps import swept_by_boot, swept_by_retirement
from ledger.reconcile.judge import Look, PresenceOf, looks_at_connections
from ledger.sources.wukongim.answers import NodeConnection, NodeConnections, Unanswered

ROUTE_LIFE_SECONDS = 90.0
"""So long a v3 cluster answers from routes of a node that it has lost (wukongim.md, section 5a)."""

LEADER_MEMORY_SECONDS = 900.0
"""So long the leaders of a v2 cluster are taken to remember users of a node that it has lost: longer than any idle
time that is usual."""

NUMBER_UNKNOWN = Unanswered("its number in the cluster is not known yet", answered=True)

OWN_ROWS_PER_SOCKET, OWN_ROWS_SLACK = 4, 100
"""A node's own rows against the sockets that it counts: as many, in recordings, and up to 1.5 times as many in a v2
cluster after it lost a node. Both are counted one after another, and a crowd that goes at once lies between."""

SCAN_SECONDS = 3.0
"""Full scans follow each other no sooner, but for those that a boot or somebody asks for."""

RETRY_DELAY_SECONDS, MAX_RETRY_DELAY_SECONDS = 4.0, 60.0
"""After a look that failed, doubling with each failure in a row."""

SCAN_SHARE = 0.9
"""Of a normal user's bound, between two looks at all connections: they take the turns of nearly everybody."""


class LookRoute(enum.Enum):
    """How to look."""

    ROWS = "POST /user/onlinestatus"
    CONNECTIONS = "GET /connz"


ROWS, CONNECTIONS = LookRoute.ROWS, LookRoute.CONNECTIONS


class Wait(NamedTuple):
    """Nothing that could be asked would be believed until then."""

    until: Instant


def has_connections(source: SourceState, askable: Collection[str] | None = None) -> bool:
    """Whether all nodes of the source have `/connz`, and can be asked for it; `askable` None: all of them can."""
    everywhere = askable is None or source.node_profiles.keys() <= set(askable)
    return everywhere and all(profile is not Profile.V3 for profile in source.node_profiles.values())


def route_for(
    source: SourceState, now: Instant, askable: Collection[str] | None = None, *, names: bool = True
) -> LookRoute | Wait:
    """What is believed now: after a cluster has lost a node its rows are wrong both ways.

    `names` False: it is known beforehand that no node answers questions about users by name.
    """
    lost_at = source.lost_node_at
    if source.node_profiles and not answering(source, askable):
        return Wait(now + SECOND)
    if not names and has_connections(source, askable):
        return CONNECTIONS
    if len(source.node_profiles) <= 1 or lost_at is None:
        return ROWS
    if has_connections(source, askable):
        return CONNECTIONS if now < lost_at + round(LEADER_MEMORY_SECONDS * SECOND) else ROWS
    if any(node.down_since is not None for node in source.nodes.values()):
        return Wait(now + SECOND)
    believed_at = lost_at + round(ROUTE_LIFE_SECONDS * SECOND)
    return ROWS if now >= believed_at else Wait(believed_at)


def in_words(source: SourceState, route: LookRoute | Wait, *, names: bool, can_scan: bool) -> str:
    """Why users are looked at in that way."""
    is_v3 = not has_connections(source)
    match route:
        case Wait():
            return "no answer would be believed now: a node is down or came back recently"
        case LookRoute.CONNECTIONS if not names:
            return "in a cluster with a managerToken POST /user/onlinestatus is refused; GET /connz takes the token"
        case LookRoute.CONNECTIONS:
            return (
                "a node was lost recently: rows are wrong both ways, and GET /connz of all nodes tells who is connected"
            )
        case _ if is_v3:
            return "v3 has no list of all connections: users whom no webhook and no look has named cannot be found"
        case _ if not source.absence_tells and can_scan:
            return (
                "a row tells who is connected; GET /connz of all nodes tells who is not, and finds who was never named"
            )
        case _ if can_scan:
            return "rows tell who is connected and who is not; GET /connz of all nodes finds who was never named"
        case _:
            return "rows alone: not all nodes have an api_url, so that users who were never named cannot be found"


def needs_connections(source: SourceState, askable: Collection[str] | None = None) -> bool:
    """Whether only `/connz` tells who was held by a node that is gone."""
    return not source.holders_known and has_connections(source, askable)


def settled_nodes(source: SourceState, asked_at: Instant, contradicted: int, answered: Collection[str]) -> list[str]:
    """The nodes that answered whose boot all connections, asked for at that instant, settle."""
    nodes = source.nodes.items()
    return [name for name, node in nodes if name in answered and is_settled_by(node, asked_at, contradicted)]


def is_settled_by(node: NodeState, asked_at: Instant, contradicted: int) -> bool:
    """Whether all connections, asked for at that instant, settle what a boot of the node has left open.

    Where nodes list connections that have been said offline, it waits for those to give way, though not for ever.
    """
    if node.swept or node.boot is None or node.boot[1] >= asked_at:
        return False
    return not contradicted or asked_at - node.boot[1] >= round(RETURN_SECONDS * SECOND)


def scan_seconds(policy: Policy) -> float:
    """So often all connections are looked at where they can be: nobody waits longer than a normal user's bound, also
    those whom no webhook has ever named."""
    return SCAN_SHARE * tier_bound_seconds("normal", policy)


def answering(source: SourceState, askable: Collection[str] | None = None) -> set[str]:
    """The nodes that can be asked now."""
    names = source.node_profiles.keys() if askable is None else source.node_profiles.keys() & set(askable)
    return {name for name in names if not _is_down(source, name)}


def _is_down(source: SourceState, node: str) -> bool:
    """Whether a node does not answer; one that booted does, though its sessions are still in doubt."""
    state = source.nodes.get(node)
    return state is not None and state.down_since is not None and state.swept


def own_connections(
    source: SourceState, node: str, answer: NodeConnections | Unanswered
) -> Sequence[NodeConnection] | Unanswered:
    """A node's own sockets without those that it remembers of others, which in a cluster takes its number.

    More of them than the node counts itself are not believed.
    """
    if isinstance(answer, Unanswered):
        return answer
    node_id = None
    if len(source.node_profiles) > 1:
        node_id = source.nodes.get(node, NodeState()).node_id
        if node_id is None:
            return NUMBER_UNKNOWN
    own = answer.own(node_id)
    if len(own) > OWN_ROWS_PER_SOCKET * answer.sockets + OWN_ROWS_SLACK:
        return Unanswered(f"{len(own):,} connections of {answer.sockets:,} sockets", answered=True)
    return own


def own_connections_of_all(
    source: SourceState, answers: Mapping[str, NodeConnections]
) -> dict[str, Sequence[NodeConnection]]:
    """What `own_connections` says of all nodes, without those whose answer is not believed."""
    own = {node: own_connections(source, node, answer) for node, answer in answers.items()}
    return {node: rows for node, rows in own.items() if not isinstance(rows, Unanswered)}


def union_connections(found: Mapping[str, Sequence[NodeConnection]], at: Instant) -> dict[str, list[Connection]]:
    """The nodes' own sockets by user, as of an instant."""
    union: dict[str, list[Connection]] = {}
    for node, connections in found.items():
        for row in connections:
            began_at = None if row.up_seconds is None else (at // SECOND - row.up_seconds) * SECOND
            union.setdefault(row.uid, []).append(Connection(node, row.conn_id, row.device_flag, began_at))
    return union


def looks_at_union(
    presence_of: PresenceOf,
    source: SourceState,
    watches: Mapping[str, Watch],
    union: Mapping[str, Sequence[Connection]],
    answered: Iterable[str],
) -> list[Look]:
    """What the union of these nodes' connections found of each user in `watches`, of those who can be judged.

    Where not all nodes answered, nobody is missed who may be at another one.
    """
    names = set(answered)
    looks = looks_at_connections(presence_of, source, watches, union, silent_node(source, names))
    if names >= source.node_profiles.keys():
        return looks
    return [look for look in looks if not _may_be_elsewhere(source, look, names)]


def silent_node(source: SourceState, answered: Iterable[str]) -> str | None:
    """The one node that did not answer, where it is one."""
    silent = source.node_profiles.keys() - set(answered)
    return silent.pop() if len(silent) == 1 else None


def _may_be_elsewhere(source: SourceState, look: Look, names: set[str]) -> bool:
    if look.presence.flip is None and not look.difference.opened:
        return True
    gone = set(look.difference.gone)
    silent = source.node_profiles.keys() - names
    return any(
        any(source.may_hold(device, session, node) for node in silent)
        for device in look.presence.devices
        for session in device.sessions
        if SessionId(device.scope, device.device_flag, session.conn_id) in gone
    )


def ended_with(
    presence: Presence, source: SourceState, node: str, *, retired: bool, by_sender: bool = False
) -> tuple[tuple[SessionId, ...], bool]:
    """-> (sessions that ended with a boot of the node or its retirement, whether others may have).

    `by_sender`: who told of a session held it, where a retirement leaves no better evidence.
    """
    if retired:
        return swept_by_retirement(presence, source, node, by_sender=by_sender)
    return swept_by_boot(presence, source, node)


def sweep_evidence(source: SourceState, node: str, *, retired: bool) -> int:
    """The position of the event that proves that the node booted or was retired; 0 where none does."""
    if retired:
        return source.retired.get(node, 0)
    return source.nodes[node].boot_position if node in source.nodes else 0


def swept(
    presence: Presence,
    source: SourceState,
    node: str,
    ended: tuple[SessionId, ...],
    at: Instant,
    run: str,
    evidence: int,
) -> Swept:
    """The sweep of sessions that ended with a boot of their node, or with the node itself where that was retired."""
    boot = source.nodes[node].boot if node in source.nodes else None
    left: Status = "online" if sum(len(d.sessions) for d in presence.devices) > len(ended) else "offline"
    return Swept(
        source=source.name,
        node=node,
        received_at=at,
        rule="restart" if boot is not None and node in source.node_profiles else "node_retired",
        status_before=presence.status,
        status_after=left,
        ended=ended,
        run=run,
        evidence=evidence,
        earliest=_last_evidence(presence, source.name, node, ended),
        latest=None if boot is None else boot[1],
    )


def _last_evidence(presence: Presence, source: str, node: str, ended: tuple[SessionId, ...]) -> Instant | None:
    """The last evidence of the sessions that a sweep ends, the very ones that folding it will take away."""
    seen: list[Instant] = []
    gone: dict[tuple[str, int | None], list[int | None]] = {}
    for session in ended:
        gone.setdefault((session.scope, session.device_flag), []).append(session.conn_id)
    for device in presence.devices:
        if device.source != source or (device.scope, device.device_flag) not in gone:
            continue
        waiting: dict[int | None, list[Session]] = {}
        for each in sorted(device.sessions, key=ended_by(node), reverse=True):
            waiting.setdefault(each.conn_id, []).append(each)
        named = gone[device.scope, device.device_flag]
        seen += [waiting[conn_id].pop().seen_at for conn_id in named if waiting.get(conn_id)]
    return max(seen, default=None)
