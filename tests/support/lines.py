"""Lines of recordings, made by hand, and their replay."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ledger.domain.observation import SECOND
from ledger.domain.policy import Policy
from ledger.replay.recording import Replay, ReplayResult
from ledger.sources.wukongim.recording import read_header, read_lines
from tests.support.im_node import WHOLE_ROW

STARTED_SECONDS = 1_800_000_000.5
META = {"kind": "meta", "server": "v22", "started_at": STARTED_SECONDS}


def webhook(t: float, *items: str, **fields: Any) -> dict[str, Any]:
    """A delivery that reached the receiver."""
    body = json.dumps(list(items))
    return {
        "kind": "webhook",
        "t": t,
        "node": "n1",
        "event": "user.onlinestatus",
        "body": body,
        "answer": "ok",
    } | fields


def poll(t: float, rows: Mapping[str, int], asked: Sequence[str] = ("u",), **fields: Any) -> dict[str, Any]:
    """An answer of `/user/onlinestatus`: so many connections of device flag 0 of each user."""
    body = [{"uid": uid, "device_flag": 0, "online": 1} for uid, number in rows.items() for _ in range(number)]
    return {
        "kind": "poll",
        "t": t,
        "node": "n1",
        "route": "POST /user/onlinestatus",
        "request": list(asked),
        "status": 200,
        "body": json.dumps(body),
    } | fields


def varz(t: float, uptime: int, node: str = "n1", server_id: str = "1001", **fields: Any) -> dict[str, Any]:
    """A probe that was answered: the node has been up for so many seconds."""
    body = json.dumps({"server_id": server_id, "version": "", "connections": 1, "uptime": f"{uptime}s"})
    return _asked(t, node, "GET /varz", body) | fields


def connz(
    t: float, connections: Mapping[str, int], node: str = "n1", node_id: int = 1001, **fields: Any
) -> dict[str, Any]:
    """An answer of `/connz`: one connection of each user by its connId."""
    rows = [
        WHOLE_ROW | {"uid": uid, "id": number, "device": "App(主)", "node_id": node_id}
        for uid, number in connections.items()
    ]
    body = json.dumps({"connections": rows, "total": len(rows), "offset": 0, "limit": 100_000})
    return _asked(t, node, "GET /connz?limit=100000", body) | fields


def failed(line: dict[str, Any], error: str = "ConnectError") -> dict[str, Any]:
    """The same question, without an answer."""
    return {name: value for name, value in line.items() if name not in ("status", "body")} | {"error": error}


def _asked(t: float, node: str, route: str, body: str) -> dict[str, Any]:
    return {"kind": "poll", "t": t, "node": node, "route": route, "request": None, "status": 200, "body": body}


def replay_of(
    *lines: dict[str, Any],
    meta: dict[str, Any] = META,
    until: float | None = None,
    all_deliveries: bool = False,
    polls: bool = True,
    policy: Policy | None = None,
) -> Replay:
    """The lines replayed; the states are in the replay's draft."""
    texts = [json.dumps(line) for line in (meta, *lines)]
    header = read_header(texts[0])
    stop = None if until is None else header.started_at + round(until * SECOND)
    replay = Replay(header, policy or Policy())
    for _ in replay.run(read_lines(texts[1:], header, stop, all_deliveries=all_deliveries, polls=polls)):
        pass
    return replay


def replayed(*lines: dict[str, Any], **how: Any) -> ReplayResult:
    """The outcome alone."""
    return replay_of(*lines, **how).result
