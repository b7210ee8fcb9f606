"""A perfect model of an IM cluster: who is really connected where, what its webhooks say, what its queries answer."""

import zlib
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from ledger.domain.observation import SECOND, Instant
from ledger.domain.profile import Profile
from ledger.sources.wukongim.answers import Boot, NodeConnections
from ledger.sources.wukongim.answers import NodeConnection as Row

SLOTS, SILENCED_SLOT = 64, 0
LABELLED = (0, 1, 2)
"""Device flags that a row of `/connz` tells; the others look alike."""


class Held(NamedTuple):
    """A client's connection."""

    node: str
    flag: int
    conn_id: int
    opened_at: Instant = 0


class Cluster:
    """Nodes with their clients. Webhooks wait in `unsent`, in order, by the node that would send them."""

    def __init__(self, profile: Profile, nodes: tuple[str, ...], at: Instant) -> None:
        self.profile, self.nodes = profile, nodes
        self.booted_at: dict[str, Instant] = dict.fromkeys(nodes, at - 1000 * SECOND)
        self.down: set[str] = set()
        self.open: dict[str, list[Held]] = defaultdict(list)
        self.unsent: dict[str, list[str]] = {node: [] for node in nodes}
        self.denied: set[str] = set()
        """Users whom a new leader does not know: the query says offline."""
        self.ghosts: dict[str, list[Held]] = defaultdict(list)
        """Connections of a crashed node that the others remember."""
        self.wrong_until: Instant = at
        """So long the query answers from what was remembered of a lost node."""
        self.now: Callable[[], Instant] = lambda: at
        self._next: dict[str, int] = dict.fromkeys(nodes, 1)
        self._told_of: dict[tuple[str, int], set[tuple[str, Instant]]] = defaultdict(set)
        """By user and connId: the nodes, each with its boot, that have had such a connection."""

    @property
    def is_v3(self) -> bool:
        return self.profile is Profile.V3

    def connect(self, uid: str, flag: int, node: str) -> None:
        """A client connects, and its server has it to say."""
        before = self._counts(uid, flag, node)
        held = Held(node, flag, self._next[node], self.now())
        self._told_of[uid, held.conn_id].add((node, self.booted_at[node]))
        self._next[node] += 1
        self.open[uid].append(held)
        after = self._counts(uid, flag, node)
        self._say(uid, held, 1, before if self.profile is Profile.V2_1 else after)

    def close(self, uid: str, held: Held) -> None:
        """A client goes. v3 says so of the last one of a node alone, v2.1 and v2.2 of some users never."""
        self.open[uid].remove(held)
        counts = self._counts(uid, held.flag, held.node)
        silenced = zlib.crc32(uid.encode()) % SLOTS == SILENCED_SLOT and self.profile in (Profile.V2_1, Profile.V2_2)
        if not silenced and (not self.is_v3 or counts[1] == 0):
            self._say(uid, held, 0, counts)

    def crash(self, node: str, at: Instant) -> None:
        """A node is gone with its clients and all that it had to say."""
        self.down.add(node)
        self.unsent[node].clear()
        self.wrong_until = at + 10**18
        for uid, connections in self.open.items():
            self.ghosts[uid] += [held for held in connections if held.node == node]
            self.open[uid] = [held for held in connections if held.node != node]

    def boot(self, node: str, at: Instant, wrong_seconds: float) -> None:
        """A node is back; connIds begin again, and a cluster's query is wrong for some time."""
        self.down.discard(node)
        self.booted_at[node] = at
        self._next[node] = 1
        if not self.down:
            self.wrong_until = at + (round(wrong_seconds * SECOND) if len(self.nodes) > 1 else 0)

    def rows(self, at: Instant) -> dict[str, dict[int, int]] | None:
        """What `/user/onlinestatus` says of everybody; None where the call fails, as it does while a node is down."""
        if self.down:
            return None
        found: dict[str, dict[int, int]] = {}
        for uid in self.open.keys() | self.ghosts.keys():
            flags: dict[int, int] = defaultdict(int)
            for held in self._said_of(uid, at):
                flags[held.flag] += 1
            if flags:
                found[uid] = dict(flags)
        return found

    def _said_of(self, uid: str, at: Instant) -> list[Held]:
        if uid in self.denied:
            return []
        return self.open[uid] + (self.ghosts[uid] if at < self.wrong_until else [])

    def connections(self, node: str) -> NodeConnections | None:
        """What a node's `/connz` says: its own sockets, and those of others that it remembers."""
        if node in self.down:
            return None
        own = [
            self._row(uid, held) for uid, connections in self.open.items() for held in connections if held.node == node
        ]
        remembered = [
            self._row(uid, held) for uid, ghosts in self.ghosts.items() for held in ghosts if held.node != node
        ]
        return NodeConnections(own + remembered, len(own))

    def _row(self, uid: str, held: Held) -> Row:
        node_id = None if self.profile is Profile.V1 else self.node_id(held.node)
        up_seconds = (self.now() - held.opened_at) // SECOND
        return Row(uid, held.conn_id, held.flag if held.flag in LABELLED else None, node_id, up_seconds)

    def is_unmistakable(self, uid: str, held: Held) -> bool:
        """Whether no other connection of the user ever had that number: what an offline says is said of this one."""
        return self.is_v3 or len(self._told_of[uid, held.conn_id]) == 1

    def node_id(self, node: str) -> int:
        return 1001 + self.nodes.index(node)

    def boot_of(self, node: str, at: Instant, early: float, late: float) -> Boot:
        """What the node says of its boot: it may be early and late by so much."""
        booted_at = self.booted_at[node]
        return Boot(booted_at - round(early * SECOND), min(at, booted_at + round(late * SECOND)), self.node_id(node))

    def is_online(self, uid: str) -> bool:
        """The truth."""
        return bool(self.open[uid])

    def _counts(self, uid: str, flag: int, node: str) -> tuple[int, int]:
        """(of the device, in total), in v3 of the node's own connections."""
        counted = [held for held in self.open[uid] if not self.is_v3 or held.node == node]
        return sum(held.flag == flag for held in counted), len(counted)

    def _say(self, uid: str, held: Held, online: int, counts: tuple[int, int]) -> None:
        sender = held.node if self.is_v3 else self.nodes[zlib.crc32(uid.encode()) % len(self.nodes)]
        if sender not in self.down:
            self.unsent[sender].append(f"{uid}-{held.flag}-{online}-{held.conn_id}-{counts[0]}-{counts[1]}")
