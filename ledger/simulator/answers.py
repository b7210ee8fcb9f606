"""What the query API of a simulated node would truly answer: online status, connz, varz, metrics, as bytes."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from ledger.simulator.cluster import Cluster, SimulatedNode, SimulatedSession

DEVICES = {0: "App(从)", 1: "Web(从)", 2: "PC(从)"}
UNKNOWN_DEVICE = "未知(从)"
DEFAULT_LIMIT = 20
METRICS_EARLY_SECONDS = 0.5
ONLINE_STATUS = "POST /user/onlinestatus"
CONNZ = "GET /connz"
VARZ = "GET /varz"
METRICS = "GET /metrics"


class Reply(NamedTuple):
    """An answer: its HTTP status and its body."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


NOT_FOUND = Reply(404, b"404 page not found")


@dataclass(frozen=True, slots=True)
class SimulatedPoll:
    """One question to a node and its answer; `error` instead of an answer that did not come whole."""

    node: str
    route: str
    request: Any
    status: int = 0
    body: str = ""
    error: str | None = None


def dump(value: Any) -> bytes:
    """JSON as Go writes it: compact, not ASCII only."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _refuse(message: str) -> Reply:
    return Reply(400, dump({"msg": message, "status": 400}))


def go_duration(seconds: float) -> str:
    """Whole seconds as Go prints them: 3723 is "1h2m3s"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _instant(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@lru_cache(maxsize=4096)
def _row_end(device_flag: int, device_id: str, leader: int | None, holder: int) -> bytes:
    """The end of a row of connz, which many rows share; v1 names no leader."""
    row: dict[str, Any] = {
        "device": DEVICES.get(device_flag, UNKNOWN_DEVICE),
        "device_id": device_id,
        "version": 5,
    }
    return dump(row if leader is None else {**row, "leader_id": leader, "node_id": holder})[1:]


@dataclass(frozen=True, slots=True)
class QueryApi:
    """The answers of all nodes of a cluster. `started_at` is Unix seconds of t = 0; v3 asks for no `token`."""

    cluster: Cluster
    started_at: float
    token: str = ""

    @property
    def is_v3(self) -> bool:
        """Whether this is v3: no token, neither connz nor varz, but metrics."""
        return self.cluster.traits.counts == "node_local"

    def admits(self, token: str | None) -> bool:
        """Whether a request with this `token` header is answered."""
        return self.is_v3 or not self.token or token == self.token

    def online_status(
        self, name: str, body: bytes, forgets: Callable[[SimulatedSession], bool] = lambda session: False
    ) -> Reply:
        """POST /user/onlinestatus: a row for each connection that the users' leaders remember.

        `forgets` says of which ones they do not, although they are there.
        """
        uids = self._uids(body)
        if isinstance(uids, str):
            return _refuse("数据格式有误！" if self.is_v3 else uids)
        if not uids:
            return Reply(200, dump({"status": 200}))
        nodes = self.cluster.nodes
        members = [node for node in nodes.values() if node.member]
        if len(members) > 1 and self.token and not self.is_v3:
            return _refuse("Post /user/onlinestatus: the peer answered with an error[401]")
        down = next((node for node in nodes.values() if node.member and not node.up), None)
        if down is not None:
            return _refuse(f"transport: dial failed: node {down.number}: connect: connection refused")
        led: dict[int, list[str]] = {}
        routes = {node.number: node.routes for node in nodes.values()}
        for uid in uids:
            led.setdefault(self.cluster.leader(uid).number, []).append(uid)
        here = nodes[name].number
        rows = [
            row
            for number in sorted(led, key=lambda number: (number != here, number))
            for uid in self._repeated(led[number])
            for row in routes[number].get(uid)
            if not forgets(row)
        ]
        if not rows and len(nodes) > 1 and here not in led:
            return Reply(200, b"null")
        return Reply(200, dump([{"uid": row.uid, "device_flag": row.device_flag, "online": 1} for row in rows]))

    def _repeated(self, led: list[str]) -> Iterable[str]:
        if not self.is_v3:
            return led
        # v3 answers each repetition with the rows of every repetition: ["a","a"] gives four rows.
        return (uid for uid, times in Counter(led).items() for _ in range(times * times))

    @staticmethod
    def _uids(body: bytes) -> list[str] | str:
        """The list of uids, or Go's complaint."""
        try:
            value = json.loads(body)
        except ValueError:
            return "invalid character looking for beginning of value"
        names = {dict: "object", str: "string", bool: "bool", int: "number", float: "number"}
        if value is None:
            return []
        if not isinstance(value, list):
            return f"json: cannot unmarshal {names[type(value)]} into Go value of type []string"
        for item in value:
            if not isinstance(item, str):
                what = names.get(type(item), "array" if isinstance(item, list) else "null")
                return f"json: cannot unmarshal {what} into Go value of type string"
        return value

    def connz(self, name: str, t: float, offset: int = 0, limit: int = DEFAULT_LIMIT, uid: str = "") -> Reply:
        """GET /connz: the node's own sockets, and rows of other nodes' that it remembers as leader."""
        if self.is_v3:
            return NOT_FOUND
        node = self.cluster.nodes[name]
        rows = [session for session in node.sockets.values() if session.listed and (not uid or session.uid == uid)]
        if len(self.cluster.nodes) > 1:
            foreign = node.memory.get(uid) if uid else node.memory
            rows += [session for session in foreign if session.node != name]
        rows.sort(key=lambda session: session.conn_id)
        ages: dict[int, bytes] = {}
        page = b",".join([self._connection(node, session, t, ages) for session in rows[offset : offset + limit]])
        rest = {"now": _instant(self.started_at + t), "total": len(node.sockets), "offset": offset, "limit": limit}
        return Reply(200, b'{"connections":[%b],%b' % (page, dump(rest)[1:]))

    def _connection(self, node: SimulatedNode, session: SimulatedSession, t: float, ages: dict[int, bytes]) -> bytes:
        """A row; `ages` keeps the ages that were written before."""
        if not session.row:
            session.row = self._row(node, session)
        start, end = session.row
        seconds = int(t - session.opened_at)
        age = ages.get(seconds)
        if age is None:
            age = ages[seconds] = b'"uptime":"%b","idle":"%b",' % ((go_duration(seconds).encode(),) * 2)
        return start + age + end

    def _row(self, node: SimulatedNode, session: SimulatedSession) -> tuple[bytes, bytes]:
        """What of a session's row stays the same: a node that is asked about it is its holder or its leader."""
        leader, holder = self.cluster.leader(session.uid).number, self.cluster.nodes[session.node].number
        start = {
            "id": session.conn_id,
            "uid": session.uid,
            "ip": "127.0.0.1",
            "port": 30000 + session.conn % 30000 if session.node == node.name else 11110,
            "last_activity": _instant(self.started_at + session.opened_at),
        }
        named = None if self.cluster.traits.server == "v12" else leader
        return dump(start)[:-1] + b",", _row_end(session.device_flag, session.device_id, named, holder)

    def varz(self, name: str, t: float) -> Reply:
        """GET /varz: `uptime` in whole seconds."""
        if self.is_v3:
            return NOT_FOUND
        node = self.cluster.nodes[name]
        answer = {
            "server_id": "0" if self.cluster.traits.server == "v12" else str(node.number),
            "server_name": "WuKongIM",
            "version": "",
            "connections": len(node.sockets),
            "uptime": go_duration(t - node.booted_at),
            "manager_uid": "____manager",
            "manager_token_on": int(bool(self.token)),
        }
        return Reply(200, dump(answer))

    def metrics(self, name: str) -> Reply:
        """GET /metrics (v3): the boot instant, which is said to be a little earlier than it was."""
        if not self.is_v3:
            return NOT_FOUND
        boot = self.started_at + self.cluster.nodes[name].booted_at - METRICS_EARLY_SECONDS
        lines = (
            "# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.",
            "# TYPE process_start_time_seconds gauge",
            f"process_start_time_seconds {boot:.11e}",
        )
        return Reply(200, ("\n".join(lines) + "\n").encode())
