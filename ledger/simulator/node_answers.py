"""What a simulated node answers: the truth, or what a spell of lies makes of it."""

import json
from dataclasses import dataclass
from math import inf

from ledger.simulator.answers import CONNZ, DEFAULT_LIMIT, METRICS, ONLINE_STATUS, VARZ, QueryApi, Reply, dump
from ledger.simulator.commands import SEND, ReceivedCommands
from ledger.simulator.lies import SLOW_SECONDS, Lies

HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"
ODD_FLAG = 250
ODD_UID = "nobody-asked-for-me"


@dataclass(frozen=True, slots=True)
class Question:
    """What a node is asked: the route, and what belongs to it."""

    route: str
    body: bytes = b""
    offset: int = 0
    limit: int = DEFAULT_LIMIT
    uid: str = ""


@dataclass(frozen=True, slots=True)
class TimedReply:
    """An answer that comes `after_seconds` (infinite: never); `broken` where the connection breaks instead."""

    reply: Reply
    after_seconds: float = 0.0
    broken: bool = False

    @property
    def error(self) -> str | None:
        """How a recording names what stands in the answer's place; None where it comes in time and whole."""
        if self.broken:
            return "ReadError"
        return "ReadTimeout" if self.after_seconds > 0 else None


@dataclass(frozen=True, slots=True)
class NodeAnswers:
    """All nodes' answers, lies included."""

    api: QueryApi
    lies: Lies
    commands: ReceivedCommands | None = None
    """What takes commands; None: nobody sends any."""

    def ask(self, node: str, question: Question, t: float) -> TimedReply:
        """The answer of a node that is up, to a question asked at `t` with the right token."""
        slow = self.lies.told("slow", node, t)
        after = 0.0 if slow is None else inf if slow.what == "never" else SLOW_SECONDS
        error = self.lies.told("errors", node, t)
        broken = self.lies.breaks(node, t) is not None
        match error and error.what:
            case "500":
                return TimedReply(Reply(500, b'{"msg":"internal error","status":500}'), after)
            case "401":
                return TimedReply(Reply(401, b""), after)
            case "html":
                return TimedReply(Reply(502, HTML), after)
            case "400" if question.route == ONLINE_STATUS:
                message = "transport: dial failed: connect: connection refused"
                return TimedReply(Reply(400, dump({"msg": message, "status": 400})), after)
            case "half":
                reply = self._reply(node, question, t)
                return TimedReply(Reply(reply.status, reply.body[: len(reply.body) // 2]), after)
            case _:
                return TimedReply(self._reply(node, question, t), after, broken)

    def _reply(self, node: str, question: Question, t: float) -> Reply:
        if question.route == VARZ:
            return self.api.varz(node, t)
        if question.route == METRICS:
            return self.api.metrics(node)
        if question.route == SEND and self.commands is not None:
            return self.commands.send(node, question.body, t)
        odd = self.lies.told("odd", node, t) is not None
        if question.route == CONNZ:
            reply = self.api.connz(node, t, question.offset, question.limit, question.uid)
            return _odd_connz(reply) if odd else reply
        empty = self.lies.told("empty_list", node, t)
        reply = self._status(node, question.body, t)
        if empty is not None and reply.status == 200 and not reply.body.startswith(b"{"):
            return Reply(200, b"null" if empty.what == "null" else b"[]")
        return _odd_status(reply) if odd else reply

    def _status(self, node: str, body: bytes, t: float) -> Reply:
        changed = self.lies.told("leader_change", node, t)
        if changed is None:
            return self.api.online_status(node, body)
        return self.api.online_status(node, body, changed.forgets)


def _odd_status(reply: Reply) -> Reply:
    rows = json.loads(reply.body)
    if reply.status != 200 or not isinstance(rows, list):
        return reply
    more = [{**row, "device_flag": ODD_FLAG} for row in rows[:1]] + rows[1:2]
    more.append({"uid": ODD_UID, "device_flag": 0, "online": 1})
    return Reply(200, dump([{**row, "slot": 7, "extra": {"since": None}} for row in rows + more]))


def _odd_connz(reply: Reply) -> Reply:
    if reply.status != 200:
        return reply
    answer = json.loads(reply.body)
    answer["connections"] = [{**row, "proto": None} for row in answer["connections"]]
    return Reply(200, dump({**answer, "cluster": {"term": 3}}))
