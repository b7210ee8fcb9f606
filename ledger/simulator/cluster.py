"""What WuKongIM's nodes know: sockets with connIds, who leads whose slot, and the counts that each version states."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from zlib import crc32

from ledger.simulator.plan import Traits

SLOTS = 64
QueuedItem = tuple[str, str]


def slot_for(uid: str) -> int:
    """The slot that a user's channel belongs to, 0 to 63."""
    return crc32(uid.encode()) % SLOTS


@dataclass(slots=True, eq=False)
class SimulatedSession:
    """One connection. `conn` numbers it in the run; `conn_id` is the node's number of it since its boot."""

    conn: int
    uid: str
    device_flag: int
    device_id: str
    node: str
    conn_id: int
    opened_at: float
    leader_boot: int
    alive: bool = True
    socket_open: bool = True
    listed: bool = True
    by_door: bool = False
    """Whether a real client holds it, who comes back by themselves."""
    row: tuple[bytes, bytes] | None = None


class SessionsByUser:
    """Connections by user, as one node remembers them."""

    def __init__(self) -> None:
        self._by_uid: dict[str, list[SimulatedSession]] = {}

    def add(self, session: SimulatedSession) -> None:
        sessions = self._by_uid.setdefault(session.uid, [])
        if session not in sessions:
            sessions.append(session)

    def remove(self, session: SimulatedSession) -> None:
        sessions = self._by_uid.get(session.uid, [])
        if session in sessions:
            sessions.remove(session)
            if not sessions:
                del self._by_uid[session.uid]

    def get(self, uid: str) -> list[SimulatedSession]:
        return self._by_uid.get(uid, [])

    def counts(self, session: SimulatedSession) -> tuple[int, int]:
        """How many connections of the session's device flag, and of its user in all."""
        rows = self.get(session.uid)
        return sum(row.device_flag == session.device_flag for row in rows), len(rows)

    def clear(self) -> None:
        self._by_uid.clear()

    def __iter__(self) -> Iterator[SimulatedSession]:
        for sessions in self._by_uid.values():
            yield from sessions


@dataclass(slots=True)
class SimulatedNode:
    """One server: `memory` is what its counts are made of, `routes` what its query answers are made of."""

    name: str
    number: int
    memory: SessionsByUser
    routes: SessionsByUser
    up: bool = True
    member: bool = True
    """False once its slots were handed over to the others, for good."""
    boots: int = 1
    booted_at: float = 0.0
    next_conn_id: int = 1
    sockets: dict[int, SimulatedSession] = field(default_factory=dict)


class Cluster:
    """The nodes. Methods that change something return what the nodes then say: (name of the sender, item)."""

    def __init__(self, traits: Traits, names: Iterable[str]) -> None:
        self.traits = traits
        self.nodes: dict[str, SimulatedNode] = {}
        for number, name in enumerate(names, start=1001):
            memory = SessionsByUser()
            routes = SessionsByUser() if traits.counts == "node_local" else memory
            self.nodes[name] = SimulatedNode(name, number, memory, routes)
        self._ring = list(self.nodes.values())
        self._conns = 0

    def leader(self, uid: str) -> SimulatedNode:
        """The node that leads the user's slot."""
        slot = slot_for(uid)
        leader = self._ring[slot % len(self._ring)]
        if leader.member:
            return leader
        heirs = [node for node in self._ring if node.member]
        return heirs[slot // len(self._ring) % len(heirs)]

    def hand_over(self, name: str) -> None:
        """A node leads no slot any more; those that do learn nothing of the connections that exist."""
        node = self.nodes[name]
        node.member = False
        node.memory.clear()
        node.routes.clear()

    def _counter(self, session: SimulatedSession) -> SimulatedNode:
        """The node that counts a session and sends its webhooks: in v3 the holder, else the slot's leader."""
        return self.nodes[session.node] if self.traits.counts == "node_local" else self.leader(session.uid)

    def connect(
        self, t: float, uid: str, device_flag: int, device_id: str, name: str
    ) -> tuple[SimulatedSession, list[QueuedItem]]:
        """Open a connection at a node that is up."""
        node = self.nodes[name]
        leader = self.leader(uid)
        self._conns += 1
        conn_id, node.next_conn_id = node.next_conn_id, node.next_conn_id % (2**32 - 1) + 1
        session = SimulatedSession(self._conns, uid, device_flag, device_id, name, conn_id, t, leader.boots)
        node.sockets[conn_id] = session
        counter = self._counter(session)
        before = counter.memory.counts(session)
        if counter.up:
            counter.memory.add(session)
        if leader.up:
            leader.routes.add(session)
        counts = before if self.traits.counts == "before" else counter.memory.counts(session)
        return session, self._say(session, 1, counts)

    def close(self, session: SimulatedSession, *, keeps_row: bool = False) -> list[QueuedItem]:
        """The socket of a session is closed, by either side; `keeps_row`: its node goes on listing it."""
        if not session.socket_open:
            return []
        session.socket_open = session.alive = False
        if not keeps_row:
            self.nodes[session.node].sockets.pop(session.conn_id, None)
        return self._offline(session)

    def say_again(self, session: SimulatedSession) -> list[QueuedItem]:
        """The offline of a connection that its node still lists, once more."""
        if self.nodes[session.node].sockets.get(session.conn_id) is not session:
            return []
        return self._say(session, 0, self._counter(session).memory.counts(session))

    def idle(self, session: SimulatedSession) -> list[QueuedItem]:
        """A silent session is given up while its socket stays open (v2)."""
        if not session.socket_open:
            return []
        session.listed = False
        return self._offline(session)

    def forget(self, session: SimulatedSession) -> None:
        """Stop counting a session without a word."""
        self._counter(session).memory.remove(session)
        self.leader(session.uid).routes.remove(session)

    def forget_route(self, session: SimulatedSession) -> None:
        """Stop answering queries with a session that is still counted (v3)."""
        self.leader(session.uid).routes.remove(session)

    def _offline(self, session: SimulatedSession) -> list[QueuedItem]:
        self.forget(session)
        counts = self._counter(session).memory.counts(session)
        if self.traits.counts == "node_local":
            return self._say(session, 0, counts) if counts[1] == 0 else []
        if self.traits.silent_slot_zero and slot_for(session.uid) == 0:
            return []
        return self._say(session, 0, counts)

    def _say(self, session: SimulatedSession, online: int, counts: tuple[int, int]) -> list[QueuedItem]:
        counter = self._counter(session)
        knows = self.traits.counts == "node_local" or counter.boots == session.leader_boot
        if not counter.up or not knows:
            return []
        item = f"{session.uid}-{session.device_flag}-{online}-{session.conn_id}-{counts[0]}-{counts[1]}"
        return [(counter.name, item)]

    def halt(self, name: str) -> list[SimulatedSession]:
        """A node is gone, with its memory and its sockets; returns the sessions that went with it."""
        node = self.nodes[name]
        gone = list(node.sockets.values())
        for session in gone:
            session.socket_open = session.alive = False
        node.up = False
        node.sockets.clear()
        node.memory.clear()
        node.routes.clear()
        return gone

    def close_all(self, name: str) -> list[QueuedItem]:
        """A node closes every socket it holds and says so as its version does (a stop of v3)."""
        return [said for session in list(self.nodes[name].sockets.values()) for said in self.close(session)]

    def boot(self, t: float, name: str) -> None:
        """A node is back, with nothing in its memory and connIds from 1."""
        node = self.nodes[name]
        node.up, node.booted_at, node.next_conn_id = True, t, 1
        node.boots += 1

    def forget_ghosts(self, name: str, before: float) -> None:
        """Leaders drop the rows of a node's sessions that opened before an instant and are gone."""
        for node in self._ring:
            for session in [s for s in node.routes if s.node == name and s.opened_at <= before and not s.socket_open]:
                node.routes.remove(session)

    def refresh_routes(self) -> None:
        """Every leader that is up learns of all sockets again (v3, when its routes' life is over)."""
        for node in self._ring:
            for session in node.sockets.values():
                leader = self.leader(session.uid)
                if leader.up and session.listed:
                    leader.routes.add(session)
