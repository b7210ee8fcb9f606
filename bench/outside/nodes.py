"""Nodes: what their query APIs answer, how they fail, whom they are trusted by, and what is said of them."""

import json
import re
import time
from pathlib import Path

from bench.outside._cases import Chapter, Trial
from bench.outside._nodes import USERS, Watched, all_connected, neighbour_is_looked_at, shared
from bench.outside._product import at_work, command_of, logged, told, until
from tests.support.im_node import WHOLE_ROW, Answer, im_node

CHAPTER = Chapter()

MIB = 1_048_576

LIES = {
    "an error in a 200": b'{"status":400,"msg":"peer down"}',
    "an empty object": b"{}",
    "an envelope": b'{"code":0,"data":{"connections":[],"total":0,"offset":0,"limit":9}}',
    "a list that is null": b'{"connections":null,"total":0,"offset":0,"limit":10000000}',
    "rows without a part": b'{"connections":[{"id":1,"uid":"u"}],"total":1,"offset":0,"limit":10000000}',
    "a row of a user, without online": b'[{"uid":"lying-u1","device_flag":0}]',
    "somebody else's answer": b'[{"uid":"nobody","device_flag":0,"online":1}]',
}


@CHAPTER.case("3b", "an answer that has not the whole form says nothing of anybody, and why is said")
def _form(_: Trial) -> str:
    service, node = all_connected("lying")
    for name, body in LIES.items():
        node.lies |= {"/connz": Answer(200, body), "/user/onlinestatus": Answer(200, body)}
        run = service.run("lying")
        assert not run["counts"]["looked"], f"{name}: believed, {run['counts']}"
        assert run["failures"], f"{name}: no cause is said"
    time.sleep(2.5)  # the looks in turn: every 2 s, and again 0.2 s later
    seen = service.online([f"lying-{uid}" for uid in USERS])
    assert seen == len(USERS), f"{seen} of {len(USERS)} are online"
    node.lies.clear()
    until(lambda: service.run("lying")["counts"]["agreed"], "the truth is believed again")
    return f"{len(LIES)} lies, {seen} of {len(USERS)} stay online"


TINY = b"{}," * (16 * MIB)
HOSTILE = {
    "a quadratic label": ("/varz", b"process_start_time_seconds{" * 58_000),
    "48 MiB of tiny objects": ("/user/onlinestatus", b"[" + TINY),
    "tiny objects for connections": ("/connz", b'{"connections":[' + TINY),
    "a number of 5,000 digits": (
        "/varz",
        b'{"server_id":"%b","version":"","connections":1,"uptime":"3s"}' % (b"1" * 5000),
    ),
    "more of them": ("/connz", b'{"connections":[],"total":%b,"offset":0,"limit":9}' % (b"1" * 5000)),
    "a deep one": ("/user/onlinestatus", b"[" * MIB),
    "an uptime of aeons": ("/varz", b'{"server_id":"1","version":"","connections":1,"uptime":"999999999y"}'),
}


@CHAPTER.case("9d", "whatever a node answers costs about its length, and no other source's reconciliation")
def _hostile(trial: Trial) -> str:
    service, node = all_connected("hostile")
    # The embedded PostgreSQL is another process: this is the product alone.
    before = _peak_bytes(service)
    for route, body in HOSTILE.values():
        node.lies[route] = Answer(200, body[: trial.pick(len(body), 4 * MIB)])
        began = time.monotonic()
        service.run("hostile")
        neighbour_is_looked_at()
        assert trial.short or time.monotonic() - began < 15, f"{route}: took {time.monotonic() - began:.1f} s"
    rows = trial.pick(300_000, 20_000)
    many = [f'{{"id":{n},"uid":"hostile-u1",' for n in range(rows)]
    rest = json.dumps(WHOLE_ROW | {"node_id": 1001, "device": ""}, separators=(",", ":"))[1:]
    page = '{"connections":[' + ",".join(start + rest for start in many) + '],"total":3,"offset":0,"limit":10000000}'
    node.lies.clear()
    until(lambda: service.run("hostile")["counts"]["agreed"], "the truth is believed again")
    node.lies["/connz"] = Answer(200, page.encode())
    service.run("hostile")
    devices = told(service, "GET", "/v1/users/hostile-u1/presence")["devices"]
    sessions = sum(device["sessions"] for device in devices)
    assert sessions <= 1, f"{rows:,} rows of three sockets are believed: {sessions} sessions of {devices}"
    grown = (_peak_bytes(service) - before) / MIB
    assert grown < 400, f"grew by {grown:.0f} MiB"
    assert not logged(service, "source_failed", source="hostile")
    return f"{len(HOSTILE) + 1} answers, memory grew by {grown:.0f} MiB, the neighbour was looked at after each"


def _peak_bytes(service: Watched) -> int:
    status = Path(f"/proc/{service.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


@CHAPTER.case(
    "8b", "connections that are reset are failed looks: the node is down, and others are looked at", in_short=False
)
def _reset(trial: Trial) -> str:
    service, node = all_connected("resetting")
    until(lambda: service.source("resetting")["nodes"][0]["boot"], "the node has answered before")
    node.resets = True
    began = time.monotonic()
    while time.monotonic() - began < trial.pick(20, 8):
        service.run("resetting", "resetting-u1")
        neighbour_is_looked_at()
    down = until(lambda: service.source("resetting")["nodes"][0]["down_since"], "the node is down")
    for event in ("reconciliation_failed", "source_failed"):
        for source in ("resetting", "good"):
            assert not logged(service, event, source=source), event
    return f"down since {down}; the neighbour was looked at all the time"


@CHAPTER.case("3c", "each cause is logged once, of looks as of probes, and `reconcile` says it")
def _causes(_: Trial) -> str:
    service, node = all_connected("causes")
    expected = []
    for lie, reason in (
        (Answer(401, b""), "401: the token is refused"),
        (Answer(400, b'{"msg":"peer down","status":400}'), "400: peer down"),
        (Answer(500, b""), "500"),
    ):
        node.lies["*"] = lie
        expected.append(reason)
        for route in ("probe", "POST /user/onlinestatus"):
            until(lambda r=route, e=reason: _said(service, r).count(e) == 1, f"{reason} is logged of {route}")  # type: ignore[misc]
    node.lies["*"] = Answer(401, b"")
    time.sleep(2)
    for route in ("probe", "POST /user/onlinestatus"):
        # On a busy machine answers may come late besides.
        said = [reason for reason in _said(service, route) if reason in expected]
        assert said == expected, f"{route}: {said}"
    words = command_of(service, "reconcile", "--source", "causes").said
    assert any(reason in words for reason in expected), f"`reconcile` says no cause: {words}"
    return f"{', '.join(expected)}: once each of both routes; `reconcile` says one"


def _said(service: Watched, route: str) -> list[str]:
    return [line["reason"] for line in logged(service, "query_api_failed", source="causes") if line["route"] == route]


@CHAPTER.case("3d", "a private authority is trusted where `api_ca_file` names it, and nowhere else")
def _authority(_: Trial) -> str:
    service, _node = all_connected("private")
    run = service.run("private")
    assert run["counts"]["looked"] >= len(USERS), f"looked at nobody: {run}"
    reasons = service.source("untrusted")["reasons"]
    assert any("certificate not trusted" in reason for reason in reasons), reasons
    return f"{run['counts']['looked']} users looked at over TLS; elsewhere: {reasons[0]}"


@CHAPTER.case("8h", "a node that only ever refused our token is down once nobody listens, and its users in doubt")
def _refused(_: Trial) -> str:
    service = shared()
    node = service.nodes["refusing"]
    uids = [f"refusing-{uid}" for uid in USERS]
    service.hears("refusing", *map(node.connect, uids))
    until(lambda: "401" in str(service.source("refusing")["reasons"]), "its refusal is said")
    node.crash()
    until(lambda: service.source("refusing")["nodes"][0]["down_since"], "the node is down")
    online = service.online(uids)
    assert not online, f"{online} are shown online"
    node.start()
    until(lambda: "401" in str(service.source("refusing")["nodes"][0]["api"]), "it refuses again")
    time.sleep(1.5)
    assert not service.online(uids), "back, it refuses the token still, and its users are shown online"
    return f"{len(uids)} users in doubt, also while it refuses the token again"


@CHAPTER.case("8g", "a wrong profile is said, and a right one is not")
def _profile(_: Trial) -> str:
    service = shared()
    for turn in range(8):
        for source in ("before", "after"):
            node, uid = service.nodes[source], f"{source}-{turn % 2}"
            service.hears(source, node.connect(uid))
            service.hears(source, node.close(uid))
    words = "onlines count their own connection"
    until(lambda: words in str(service.source("before")["reasons"]), "v2.2 is recognised under the profile v2.1")
    (line,) = logged(service, "profile_mismatch", source="before")
    assert words not in str(service.source("after")["reasons"]), "the right profile is accused"
    return str(line["reason"])


@CHAPTER.case("8e", "a crowd that nobody joins or leaves is not silence; changes that nobody told are", in_short=False)
def _silence(trial: Trial) -> str:
    with im_node() as node, at_work(Watched(trial.folder, {"quiet": node}, tier=1.0)) as service:
        crowd = [f"c{number}" for number in range(50)]
        for uid in crowd:
            service.hears("quiet", node.connect(uid))
        ends = time.monotonic() + 75
        while time.monotonic() < ends:
            shown = service.source("quiet")
            assert not shown["webhooks_silent"], shown
            time.sleep(1)
        reasons = service.source("quiet")["reasons"]
        assert not reasons, reasons
        for uid in crowd[:5]:
            node.close(uid)
        until(lambda: service.online(crowd) == 45, "looks find who went")
        assert not service.source("quiet")["webhooks_silent"], "silent at once"
        until(lambda: service.source("quiet")["webhooks_silent"], "the silence is said", 90)
        service.hears("quiet", node.connect("back"))
        until(lambda: not service.source("quiet")["webhooks_silent"], "it is over with the next webhook")
    return "75 s of quiet are good; five who went untold are silence after a minute"
