"""`POST /message/send` of the simulated nodes: what each version takes and answers, and what clients received by it."""

import base64
import binascii
import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ledger.simulator.answers import Reply, dump
from ledger.simulator.cluster import Cluster

SEND = "POST /message/send"

APP = 0
MESSAGE_ID = 1_900_000_000_000_000_000
SYSTEM_UID = "____system"
SUCCESS = 1
"""The `reason` of v3 by which nothing is wrong."""


class Received(NamedTuple):
    """A device that was connected, and was sent the payload."""

    uid: str
    device_flag: int


@dataclass(frozen=True, slots=True)
class SentCommand:
    """One command that a node has taken, `t` seconds into the run."""

    t: float
    node: str
    body: dict[str, Any]
    payload: dict[str, Any]
    received: tuple[Received, ...]
    echoed: tuple[str, ...]
    """Recipients of whom v2 posts an `msg.offline` in return: none of their connections is the app's."""


@dataclass(slots=True)
class ReceivedCommands:
    """All nodes' commands. Any thread may read `taken`, and say by `refusal` what is answered from then on instead."""

    cluster: Cluster
    refusal: Reply | None = None
    """What every command is answered while it is set."""
    taken: list[SentCommand] = field(default_factory=list)
    refused: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, node: str, body: bytes, t: float) -> Reply:
        """What a node that is up answers to a command that came with the right token."""
        with self._lock:
            if self.refusal is not None:
                self.refused += 1
                return self.refusal
            read = self._read(body)
            if isinstance(read, Reply):
                self.refused += 1
                return read
            asked, payload = read
            received, echoed = self._deliver(asked["subscribers"])
            self.taken.append(SentCommand(t, node, asked, payload, tuple(received), tuple(echoed)))
            return self._answer(len(self.taken))

    def _read(self, body: bytes) -> tuple[dict[str, Any], dict[str, Any]] | Reply:
        """The request and its payload; what this version says of one that it does not take."""
        try:
            asked = json.loads(body)
            payload = json.loads(base64.b64decode(asked["payload"], validate=True))
        except (ValueError, KeyError, TypeError, binascii.Error):
            return self._complain("数据格式有误！", "invalid request")
        subscribers = asked.get("subscribers")
        if not isinstance(subscribers, list) or not subscribers or not all(isinstance(uid, str) for uid in subscribers):
            return self._complain("channel_id不能为空！", "invalid request")
        if asked.get("channel_id"):
            return self._complain("channelId和subscribers不能同时存在！", "invalid request")
        header = asked.get("header") or {}
        if self.cluster.traits.server != "v12" and header.get("sync_once") != 1:
            return self._complain(
                "subscribers有值的情况下，消息必须是syncOnce消息", "request subscribers require sync_once"
            )
        if self.is_v3 and not asked.get("from_uid"):
            return self._complain("", "invalid request")
        return asked, payload

    @property
    def is_v3(self) -> bool:
        """Whether the nodes are of v3, which names its errors otherwise and wants to know the sender."""
        return self.cluster.traits.counts == "node_local"

    def _complain(self, message: str, of_v3: str) -> Reply:
        return Reply(400, dump({"error": of_v3} if self.is_v3 else {"msg": message, "status": 400}))

    def _deliver(self, subscribers: Iterable[str]) -> tuple[list[Received], list[str]]:
        received, echoed = [], []
        wanted = dict.fromkeys(subscribers)
        flags: dict[str, list[int]] = {uid: [] for uid in wanted}
        for node in self.cluster.nodes.values():
            for session in list(node.sockets.values()):
                if session.alive and session.uid in flags:
                    flags[session.uid].append(session.device_flag)
        for uid, connected in flags.items():
            received += [Received(uid, flag) for flag in connected]
            if APP not in connected:
                echoed.append(uid)
        return received, echoed if self.cluster.traits.server in ("v21", "v22") else []

    def _answer(self, number: int) -> Reply:
        ids = {"message_id": MESSAGE_ID + number, "message_seq": 0}
        match self.cluster.traits.server:
            case "v12":
                return Reply(200, dump({"data": {"client_msg_no": f"{number:032x}", **ids}, "status": 200}))
            case "v3":
                return Reply(200, dump({**ids, "reason": SUCCESS}))
            case _:
                return Reply(200, dump({"status": 200}))
