"""One call of each operation of the API, for clients that are made from its description."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tests.support.description import operations
from tests.support.service import SECRET


class Call(NamedTuple):
    """What an operation is called with, and the status that it answers."""

    operation: str
    path: Mapping[str, str] = {}
    query: Mapping[str, Any] = {}
    body: Any = None
    status: int = 200


U100 = {"uid": "u100"}
LIST = {"name": "friends of u100"}
SINK = {"name": "app"}
MAIN = {"source": "main"}
WORD = {"status": "offline", "reason": "phone lost", "expires_seconds": 60}


def calls(delivery: str, run: str, at: str) -> Sequence[Call]:
    """In an order in which each is answered; `at` is an instant at which `u100` was known."""
    return (
        Call(
            "takeWebhook", {**MAIN, "node": "n1", "secret": SECRET}, {"event": "user.onlinestatus"}, ["bob-0-1-9-1-1"]
        ),
        Call("getPresence", U100, {"at": at}),
        Call("listPresences", query={"status": "online", "limit": 10}),
        Call("getSummary"),
        Call("queryPresences", body={"uids": ["u100", "bob"], "at": at}),
        Call("queryReach", body={"uids": ["u100", "bob"]}),
        Call("listUserEvents", U100, {"order": "desc", "from": at}),
        Call("listEvents", query={"limit": 10}),
        Call("getDelivery", {"delivery": delivery}),
        Call("getTimeline", U100),
        Call("listSessions", U100, {"open": True}),
        Call("explainPresence", U100, {"at": at, "lang": "zh"}),
        Call("putTier", U100, body={"tier": "vip"}),
        Call("getTier", U100),
        Call("putOverride", U100, body=WORD),
        Call("deleteOverride", U100),
        Call("putList", LIST, body={"uids": ["u100", "bob"], "watchers": ["carol"]}, status=201),
        Call("patchList", LIST, body={"add": ["dave"]}),
        Call("listLists"),
        Call("getList", LIST, {"limit": 10}),
        Call("listPresencesOfList", LIST),
        Call("getSummaryOfList", LIST),
        Call("makeStreamToken", body={"uids": ["bob"], "expires_seconds": 600}),
        Call("deleteList", LIST, status=204),
        Call("listSources"),
        Call("startRun", MAIN, body={"uids": ["u100"]}, status=202),
        Call("listRuns", MAIN),
        Call("getRun", {"run": run}),
        Call("listDrifts", query={"kind": "ghost"}),
        Call("getDriftSummary", query={"by": ["node", "hour"]}),
        Call("webhookLoss", query={**MAIN}),
        Call("blindTimes", query={"limit": 10}),
        Call("listAlerts", query={"state": "resolved"}),
        Call("acknowledgeAlert", {"alert": "none"}, status=404),
        Call("listSettings"),
        Call("listSinks"),
        Call("pauseSink", SINK),
        Call("replaySink", SINK, body={"from": 0}),
        Call("resumeSink", SINK),
        Call("reloadSettings"),
        Call("listReads", U100, {"limit": 10}),
        Call("eraseUser", {"uid": "bob"}, body={"reason": "asked for it"}),
        Call("getArchive"),
        Call("archiveNow", status=202),
        Call("getLiveness"),
        Call("getReadiness"),
        Call("getMetrics"),
    )


def as_typescript(call: Call) -> str:
    """A call by `openapi-fetch`, whose every part its compiler holds against the description."""
    operation = operations()[call.operation]
    fields = []
    if parts := [f"{name}: {_literal(value)}" for name, value in (("path", call.path), ("query", call.query)) if value]:
        fields.append(f"params: {{ {', '.join(parts)} }}")
    if call.body is not None:
        fields.append(f"body: {_literal(call.body)}")
    content = operation["responses"].get(str(call.status), {}).get("content", {})
    if not any(media.endswith("json") for media in content):
        fields.append('parseAs: "text"')
    argument = f", {{ {', '.join(fields)} }}" if fields else ""
    return f'await answered("{call.operation}", client.{operation["method"].upper()}("{operation["path"]}"{argument}));'


def _literal(value: Any) -> str:
    match value:
        case dict():
            return f"{{ {', '.join(f'{_literal(name)}: {_literal(each)}' for name, each in value.items())} }}"
        case list():
            return f"[{', '.join(map(_literal, value))}]"
        case bool():
            return str(value).lower()
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case _:
            return str(value)
