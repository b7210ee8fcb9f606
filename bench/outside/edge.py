"""The edge: what a request may bring, what it is told, and that nobody who holds connections keeps a webhook out."""

import gzip
import http.client
import json
import resource
import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache

import psutil

from bench._postgres import embedded
from bench._service import KEY, SECRET, Service
from bench.outside._cases import Chapter, Trial, scratch
from bench.outside._product import EVENT, ask, at_work, logged, post, status_of, until_exit

CHAPTER = Chapter()

HOOK = f"/hooks/main/n1/{SECRET}"
SENDER_SECONDS = 5.0
"""WuKongIM gives a webhook up after so long; v2.2 after twice as much."""
WITH_1024_FILES = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
runpy.run_module("ledger", run_name="__main__")
"""


@cache
def shared() -> Service:
    """One for all cases that leave it as it was."""
    return until_exit(_alone())


@contextmanager
def _alone() -> Iterator[Service]:
    with scratch() as folder, at_work(Service(folder)) as service:
        yield service


def online(uid: str) -> str:
    """The item of a user's first connection."""
    return f"{uid}-0-1-1-1-1"


@CHAPTER.case(
    "6", "NUL is 422, a slash is taken, gzip and BOM are read, a swallowed event is found or refused in words"
)
def _what_a_request_may_bring(_trial: Trial) -> str:
    service = shared()
    for path in ("/v1/presence?source=%00", "/v1/drift?source=%00", "/v1/drift?node=%00", "/v1/presence?after=%00"):
        assert ask(service, "GET", path).status == 422, path
    assert ask(service, "GET", "/health/ready/").status == 200
    taken = {
        "slash": post(service, online("slash"), path=f"{HOOK}/?event={EVENT}"),
        "swallowed": post(service, online("swallowed"), path=f"{HOOK}?a=b?event={EVENT}"),
        "bom": ask(service, "POST", f"{HOOK}?event={EVENT}", b'\xef\xbb\xbf["bom-0-1-1-1-1"]'),
        "zipped": ask(
            service,
            "POST",
            f"{HOOK}?event={EVENT}",
            gzip.compress(b'["zipped-0-1-1-1-1"]'),
            Content_Encoding="gzip",
        ),
    }
    for uid, answer in taken.items():
        assert (answer.status, status_of(service, uid)) == (200, "online"), (uid, answer)
    mute = post(service, online("mute"), path=f"{HOOK}?a=b")
    assert mute.status == 400, mute
    assert b"'event'" in mute.body, mute
    bomb = gzip.compress(b" " * (64 * 1024 * 1024 + 1))
    assert ask(service, "POST", f"{HOOK}?event={EVENT}", bomb, Content_Encoding="gzip").status == 413
    assert ask(service, "POST", f"{HOOK}?event={EVENT}", b"[]", Content_Encoding="br").status == 415
    return f"{len(taken)} ways taken; a bomb of {len(bomb):,} bytes 413"


@CHAPTER.case("6", "refused webhooks are counted by source, node and reason, and logged once a minute each")
def _refused_webhooks(_trial: Trial) -> str:
    service = shared()
    for path in ("/hooks/main/n1/wrong", f"/hooks/main/n99/{SECRET}", f"/hooks/other/n1/{SECRET}"):
        for _ in range(20):
            assert post(service, online("u"), path=f"{path}?event={EVENT}").status == 403
    metrics = ask(service, "GET", "/metrics").body.decode()
    for labels in (
        'node="n1",reason="wrong_secret",source="main"',
        'node="(unknown)",reason="unknown_node",source="main"',
        'node="(unknown)",reason="unknown_source",source="(unknown)"',
    ):
        assert f"presence_ledger_webhooks_forbidden_total{{{labels}}} 20.0" in metrics, labels
    lines = logged(service, "webhook_refused")
    assert [line["reason"] for line in lines] == ["wrong_secret", "unknown_node", "unknown_source"], lines
    return f"60 refused, {len(lines)} lines"


@CHAPTER.case("6", "a store that is away is said when it begins and when it ends, not each time", in_short=False)
def _a_store_that_is_away(trial: Trial) -> str:
    postgres = embedded(trial.folder / "server")
    try:
        service = Service(trial.folder, postgres.start())
        service.start()
        try:
            assert post(service, online("before")).status == 200
            postgres.stop("immediate")
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda number: post(service, online(f"u{number}")), range(8)))
            assert {answer.status for answer in answers} == {503}, answers
            postgres.start()
            deadline = time.monotonic() + 30
            while not logged(service, "store_available") and time.monotonic() < deadline:
                post(service, online("after"))
                time.sleep(0.5)
            began, ended = logged(service, "store_unavailable"), logged(service, "store_available")
            assert len(ended) == 1, ended
            assert 1 <= len(began) < len(answers), began
            assert ended[0]["times"] >= len(answers), ended
            interrupted = logged(service, "reconciliation_interrupted")
            assert len(interrupted) <= 3, interrupted
            return f"{len(answers)} refused, {len(began)} lines at the begin, one at the end"
        finally:
            service.stop()
    finally:
        postgres.stop("immediate")


@contextmanager
def held(service: Service, number: int, said: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections that say nothing, or this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        connections = []
        for _ in range(number):
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", service.port))
            connections.append(connection)
        waiting = set(connections) if said else set()
        deadline = time.monotonic() + 10
        while waiting and time.monotonic() < deadline:
            poll = select.poll()
            by_number = {each.fileno(): each for each in waiting}
            for each in waiting:
                poll.register(each, select.POLLOUT)
            for ready, _ in poll.poll(100):
                waiting.discard(by_number[ready])
                try:
                    by_number[ready].send(said)
                except OSError:
                    continue  # closed already: there were too many
        yield connections


HOLDERS = {
    "silent": b"",
    "half a head": b"GET /v1/presence HTTP/1.1\r\nHost: x\r\nX-",
    "half a body, no key": b"POST /v1/presence/query HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
    "half a body, a key": (
        f"POST /v1/presence/query HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 1000\r\n\r\n{{"
    ).encode(),
    "kept after an answer": b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
}


@CHAPTER.case("9a", "4,100 silent connections keep no webhook and no health check out, nor one that is kept")
def _silent_connections(trial: Trial) -> str:
    return _hold(trial, ["silent"], SENDER_SECONDS)


@CHAPTER.case("9a", "nor do 4,100 with half a head, with half a body, or kept after an answer", in_short=False)
def _other_holders(trial: Trial) -> str:
    # Thousands of requests come before the webhook, and each is answered or turned away.
    return _hold(trial, [name for name in HOLDERS if name != "silent"], 2 * SENDER_SECONDS)


def _hold(trial: Trial, names: list[str], bound: float) -> str:
    slowest = 0.0
    with (
        at_work(Service(trial.folder)) as service,
        closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)) as kept,
    ):
        for number, name in enumerate(names):
            assert _on(kept, f"kept{number}") == 200
            with held(service, 4100, HOLDERS[name]):
                for turn in range(3):
                    answers = [post(service, online(f"u{number}{turn}")), ask(service, "GET", "/health/live")]
                    assert {answer.status for answer in answers} == {200}, (name, answers)
                    slowest = max(slowest, *(answer.seconds for answer in answers))
                    assert _on(kept, f"still{number}{turn}") == 200, name
        assert logged(service, "connections_closed"), "nothing in the log"
    assert slowest < bound, f"one waited {slowest:.1f} s"
    return f"{', '.join(names)}: the slowest answer after {slowest:.2f} s"


def _on(kept: http.client.HTTPConnection, uid: str) -> int:
    """A webhook on a connection that is kept, and never opened again behind our back."""
    assert kept.sock is not None or uid.startswith("kept")
    before = kept.sock
    kept.request("POST", f"{HOOK}?event={EVENT}", json.dumps([online(uid)]))
    answer = kept.getresponse()
    answer.read()
    assert before is None or kept.sock is before
    return answer.status


@CHAPTER.case(
    "9a", "a silent connection is closed after seconds, a kept one lives longer than senders' 90 s", in_short=False
)
def _who_is_closed_when(trial: Trial) -> str:
    with (
        at_work(Service(trial.folder)) as service,
        closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)) as kept,
    ):
        assert _on(kept, "kept0") == 200
        began = time.monotonic()
        with closing(socket.create_connection(("127.0.0.1", service.port), timeout=30)) as silent:
            assert silent.recv(1) == b""
        closed_after = time.monotonic() - began
        time.sleep(95 - closed_after)
        assert _on(kept, "still") == 200
        return f"silent closed after {closed_after:.0f} s; kept after {time.monotonic() - began:.0f} s"


@CHAPTER.case("9a", "a hard bound of 1,024 files is said at start, and webhooks keep room within it")
def _few_files(trial: Trial) -> str:
    with at_work(Service(trial.folder, command=("-c", WITH_1024_FILES))) as service:
        [line] = logged(service, "few_file_descriptors")
        assert (line["limit"], line["connections"]) == (1024, 768), line
        with held(service, 1100):
            answer = post(service, online("u"))
            assert answer.status == 200, answer
        return f"{line['connections']} connections of {line['wanted']}; a webhook after {answer.seconds:.2f} s"


@CHAPTER.case("9b", "54 MiB of unknown fields from a read key: refused at once, shortly, in little memory")
def _a_question_that_is_none(trial: Trial) -> str:
    fields = b"{" + b",".join(b'"%d":1' % number for number in range(trial.pick(4_500_000, 2_000_000))) + b"}"
    service = shared()
    process = psutil.Process(service.pid)
    before, worst = process.memory_info().rss, 0.0
    for body in (
        fields,
        fields[: 30 * 1024 * 1024],
        b'{"uids":[' + b'"",' * 9_000_000 + b'""]}',
        b'{"uids":["u"],"at":[' + b"{}," * 9_000_000 + b"{}]}",
        gzip.compress(b"[" + b"{}," * 9_000_000 + b"{}]"),
    ):
        encoding = {"Content_Encoding": "gzip"} if body.startswith(b"\x1f") else {}
        began = time.monotonic()
        # One that says beforehand that it is too long may be cut off while it is sent.
        with suppress(BrokenPipeError, ConnectionResetError):
            answer = ask(service, "POST", "/v1/presence/query", body, **encoding)
            assert answer.status in {413, 422}, answer
            assert len(answer.body) < 4096, len(answer.body)
        worst = max(worst, time.monotonic() - began)
        assert post(service, online("u")).seconds < SENDER_SECONDS
    grown = (process.memory_info().rss - before) / 2**20
    assert grown < 400, f"{grown:.0f} MiB more"
    uids = [f"{number:05}{'é' * 509}" for number in range(10_000)]
    right = ask(service, "POST", "/v1/presence/query", json.dumps({"uids": uids}).encode())
    assert (right.status, len(json.loads(right.body)["items"])) == (200, 10_000)
    return f"slowest {worst:.2f} s, {grown:.0f} MiB more; 10,000 uids of 1,023 bytes answered"


@CHAPTER.case(
    "9h", "401s are counted and logged, answers carry CSP, nosniff and no-store, no h2c, OpenAPI says the 422s"
)
def _what_browsers_and_strangers_meet(_trial: Trial) -> str:
    service = shared()
    for _ in range(20):
        assert ask(service, "GET", "/v1/presence", Authorization="Bearer no-such-key").status == 401
    assert (
        'presence_ledger_requests_denied_total{reason="unknown_key"} 20.0'
        in ask(service, "GET", "/metrics").body.decode()
    )
    assert len(logged(service, "request_denied")) == 1
    for path in ("/docs", "/v1/presence", "/v1/users/u/presence", "/openapi.json", "/metrics"):
        headers = ask(service, "GET", path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["cache-control"] == "no-store", path
        assert "default-src 'none'" in headers["content-security-policy"], path
    with closing(socket.create_connection(("127.0.0.1", service.port), timeout=10)) as h2c:
        h2c.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0")
        said = h2c.recv(9)
        assert said[3:4] != b"\x04", "it speaks HTTP/2 without TLS"
    paths = json.loads(ask(service, "GET", "/openapi.json").body)["paths"]
    assert {"401", "403"} <= set(paths["/metrics"]["get"]["responses"])
    told = paths["/v1/users/{uid}/presence"]["get"]["responses"]["422"]["description"]
    assert "without `at`" in told, told
    return "20 × 401 in one line"
