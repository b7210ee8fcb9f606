"""What the query API of a simulated node answers, as text and status: online status, connz, varz, metrics."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ledger.simulator.cluster import Cluster, Node, Session

DEVICES = {0: "App(从)", 1: "Web(从)", 2: "PC(从)"}
UNKNOWN_DEVICE = "未知(从)"
DEFAULT_LIMIT = 20
METRICS_EARLY_SECONDS = 0.5
NOT_FOUND = (404, "404 page not found")
ONLINE_STATUS = "POST /user/onlinestatus"


@dataclass(frozen=True, slots=True)
class Poll:
    """One question to a node and its answer; `error` instead of an answer from a node that is down."""

    node: str
    route: str
    request: Any
    status: int = 0
    body: str = ""
    error: str | None = None


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _refuse(message: str) -> tuple[int, str]:
    return 400, _dump({"msg": message, "status": 400})


def go_duration(seconds: float) -> str:
    """Whole seconds as Go prints them: 3723 is "1h2m3s"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _instant(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


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

    def online_status(self, name: str, body: bytes) -> tuple[int, str]:
        """POST /user/onlinestatus: a row for each connection that the users' leaders remember."""
        uids = self._uids(body)
        if isinstance(uids, str):
            return _refuse("数据格式有误！" if self.is_v3 else uids)
        if not uids:
            return 200, _dump({"status": 200})
        nodes = self.cluster.nodes
        if len(nodes) > 1 and self.token and not self.is_v3:
            return _refuse("Post /user/onlinestatus: the peer answered with an error[401]")
        down = next((node for node in nodes.values() if not node.up), None)
        if down is not None:
            return _refuse(f"transport: dial failed: node {down.number}: connect: connection refused")
        leaders = sorted({self.cluster.leader(uid).number for uid in uids}, key=lambda n: (n != nodes[name].number, n))
        if len(nodes) > 1 and nodes[name].number not in leaders and not any(self._rows(uid) for uid in uids):
            return 200, "null"
        rows = [row for number in leaders for uid in self._led_by(number, uids) for row in self._rows(uid)]
        return 200, _dump([{"uid": row.uid, "device_flag": row.device_flag, "online": 1} for row in rows])

    def _led_by(self, number: int, uids: list[str]) -> list[str]:
        led = [uid for uid in uids if self.cluster.leader(uid).number == number]
        if not self.is_v3:
            return led
        # v3 answers each repetition with the rows of every repetition: ["a","a"] gives four rows.
        return [uid for uid, times in Counter(led).items() for _ in range(times * times)]

    def _rows(self, uid: str) -> list[Session]:
        return self.cluster.leader(uid).routes.of(uid)

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

    def connz(self, name: str, t: float, offset: int = 0, limit: int = DEFAULT_LIMIT, uid: str = "") -> tuple[int, str]:
        """GET /connz: the node's own sockets, and rows of other nodes' that it remembers as leader."""
        if self.is_v3:
            return NOT_FOUND
        node = self.cluster.nodes[name]
        own = [session for session in node.sockets.values() if session.listed]
        foreign = [session for session in node.memory if session.node != name]
        rows = [session for session in own + foreign if not uid or session.uid == uid]
        rows.sort(key=lambda session: session.conn_id)
        page = [self._connection(node, session, t) for session in rows[offset : offset + limit]]
        answer = {
            "connections": page,
            "now": _instant(self.started_at + t),
            "total": len(node.sockets),
            "offset": offset,
            "limit": limit,
        }
        return 200, _dump(answer)

    def _connection(self, node: Node, session: Session, t: float) -> dict[str, Any]:
        here = session.node == node.name
        age = go_duration(t - session.opened_at)
        row: dict[str, Any] = {
            "id": session.conn_id,
            "uid": session.uid,
            "ip": "127.0.0.1",
            "port": 30000 + session.conn % 30000 if here else 11110,
            "last_activity": _instant(self.started_at + session.opened_at),
            "uptime": age,
            "idle": age,
            "device": DEVICES.get(session.device_flag, UNKNOWN_DEVICE),
            "device_id": session.device_id,
            "version": 5,
        }
        if self.cluster.traits.server == "v12":
            return row
        leader, holder = self.cluster.leader(session.uid).number, self.cluster.nodes[session.node].number
        return {**row, "leader_id": leader, "node_id": holder}

    def varz(self, name: str, t: float) -> tuple[int, str]:
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
        return 200, _dump(answer)

    def metrics(self, name: str) -> tuple[int, str]:
        """GET /metrics (v3): the boot instant, which is said to be a little earlier than it was."""
        if not self.is_v3:
            return NOT_FOUND
        boot = self.started_at + self.cluster.nodes[name].booted_at - METRICS_EARLY_SECONDS
        lines = (
            "# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.",
            "# TYPE process_start_time_seconds gauge",
            f"process_start_time_seconds {boot:.11e}",
        )
        return 200, "\n".join(lines) + "\n"
