"""The live client of a node: its questions, and what it makes of every odd answer, none of which it raises."""

import asyncio
import json
import socket
import threading
from collections.abc import Collection
from contextlib import closing

import pytest

from ledger.domain.profile import Profile
from ledger.sources.wukongim import client as client_module
from ledger.sources.wukongim.answers import Boot, NodeConnections, OnlineRows, Unanswered, read_online_status
from ledger.sources.wukongim.client import CHUNK_USERS
from tests.support.im_node import WHOLE_ROW
from tests.support.query_api import (
    GARBAGE,
    HALF,
    HANG,
    HOST,
    HTML,
    RESET,
    SLOW_BODY,
    VARZ,
    Said,
    listening,
    rows,
    said,
)
from tests.support.query_clients import NOW, QUICK, asking

TOKEN = "t0ken-of-the-manager"
START_TIME = said(200, "# HELP x\nprocess_start_time_seconds 1.79542257115e+09\n", "text/plain")


def test_the_question_about_users() -> None:
    async def test() -> None:
        async with listening(rows("u1", "u1", "名-1", "stranger")) as node, asking(node.url, token=TOKEN) as client:
            assert await client.online_status(["u1", "名-1", "u3"]) == OnlineRows({"u1": {0: 2}, "名-1": {0: 1}}, 1)
            question = node.asked[0]
            assert (question.method, question.target) == ("POST", "/user/onlinestatus")
            assert question.body == b'["u1","\\u540d-1","u3"]'
            assert (question.headers["token"], question.headers["content-type"]) == (TOKEN, "application/json")
            assert (client.health.calls, client.health.users_asked, client.health.last_good_at) == (1, 3, NOW)

    asyncio.run(test())


def test_nobody_is_asked_about_without_a_question() -> None:
    async def test() -> None:
        async with listening(rows()) as node, asking(node.url) as client:
            assert await client.online_status([]) == OnlineRows({}, 0)
            assert node.asked == []
            with pytest.raises(ValueError, match="1001 users in one call; at most 1000"):
                await client.online_status([f"u{number}" for number in range(CHUNK_USERS + 1)])

    asyncio.run(test())


def test_connections_come_in_one_page() -> None:
    async def test() -> None:
        row = WHOLE_ROW | {"id": 17, "uid": "u1", "device": "App(从)", "node_id": 1001}
        page = json.dumps({"connections": [row], "total": 1, "offset": 0, "limit": 10_000_000})
        async with listening(said(200, page)) as node, asking(node.url + "/") as client:
            answer = await client.connections()
            assert isinstance(answer, NodeConnections)
            assert [(row.uid, row.conn_id, row.device_flag, row.node_id) for row in answer.rows] == [
                ("u1", 17, 0, 1001)
            ]
            assert (node.asked[0].method, node.asked[0].target) == ("GET", "/connz?limit=10000000")
            assert "token" not in node.asked[0].headers

    asyncio.run(test())


def test_v3_has_no_list_of_connections_and_is_not_asked_for_it() -> None:
    async def test() -> None:
        async with listening(START_TIME) as node, asking(node.url, profile=Profile.V3) as client:
            assert await client.connections() == Unanswered("v3 lists no connections")
            assert (node.asked, client.health.failures_in_a_row) == ([], 0)

    asyncio.run(test())


@pytest.mark.parametrize("profile", [Profile.V1, Profile.V2_1, Profile.V2_2])
def test_the_boot_of_v1_and_v2_lies_an_uptime_before_the_answer(profile: Profile) -> None:
    async def test() -> None:
        async with listening(VARZ) as node, asking(node.url, profile=profile) as client:
            for answer in (await client.boot(), await client.probe()):
                assert isinstance(answer, Boot)
                assert answer.earliest < NOW - 62_000_000 <= answer.latest < NOW - 62_000_000 + 1_000_000
            assert [question.target for question in node.asked] == ["/varz", "/varz"]

    asyncio.run(test())


def test_the_boot_of_v3_is_its_start_time() -> None:
    async def test() -> None:
        async with listening(START_TIME) as node, asking(node.url, profile=Profile.V3) as client:
            answer = await client.probe()
            assert isinstance(answer, Boot)
            assert answer.earliest <= 1_795_422_571_150_000 <= answer.latest
            assert node.asked[0].target == "/metrics"

    asyncio.run(test())


@pytest.mark.parametrize("body", ["[]", "null", '{"status":200}'])
def test_an_empty_answer_is_an_answer_where_the_server_means_it(body: str) -> None:
    async def test() -> None:
        async with listening(said(200, body)) as node, asking(node.url) as client:
            answer = await client.online_status(["u1"])
            if body.startswith("{"):
                assert isinstance(answer, Unanswered)
            else:
                assert answer == OnlineRows({}, 0)

    asyncio.run(test())


@pytest.mark.parametrize(
    ("answer", "reason", "requests"),
    [
        (said(401), "401: the token is refused", 1),
        (said(400, '{"msg":"dial tcp: connection refused","status":400}'), "400: dial tcp: connection refused", 1),
        (said(404, "404 page not found", "text/plain"), "404", 1),
        (said(302, Location="http://127.0.0.1:1/"), "302", 1),
        (said(204), "204", 1),
        (HTML, "not JSON", 1),
        (said(200, '[{"uid":"u1","dev'), "not JSON", 1),
        (said(200, b"\xff\xfe"), "not JSON", 1),
        (said(200, ""), "not JSON", 1),
        (said(500, "boom"), "500", 3),
        (said(503, "x" * 200_000, "text/html"), "503", 3),
        (HALF, "the connection broke before the whole answer had come", 3),
        (RESET, "the connection broke before the whole answer had come", 3),
        (GARBAGE, "the connection broke before the whole answer had come", 3),
        (said(200, b"[]", Content_Encoding="gzip"), "an answer in an encoding that was not asked for", 1),
    ],
)
def test_an_odd_answer_is_none_and_is_asked_for_again_only_where_that_may_help(
    answer: Said, reason: str, requests: int
) -> None:
    async def test() -> None:
        async with listening(answer) as node, asking(node.url) as client:
            # A node that gives an answer at all lives; a connection that broke tells nothing.
            answered = not reason.startswith(("the connection", "an answer"))
            unanswered = Unanswered(reason, answered=answered, long_held=reason.startswith("an answer"))
            assert await client.online_status(["u1", "u2"]) == unanswered
            assert len(node.asked) == requests
            health = client.health
            assert (health.last_reason, health.last_failure_at, health.failures_in_a_row) == (reason, NOW, 1)
            assert (health.calls, health.users_asked, health.last_good_at) == (requests, 2 * requests, None)

    asyncio.run(test())


@pytest.mark.parametrize("silence", [HANG, SLOW_BODY])
def test_a_node_that_does_not_come_to_an_end_is_left_in_time(silence: Said) -> None:
    async def test() -> None:
        async with listening(silence) as node, asking(node.url, time_outs=QUICK) as client:
            async with asyncio.timeout(60):
                assert await client.online_status(["u1"]) == Unanswered("timed out after 0.2 s")
                assert await client.connections() == Unanswered("timed out after 0.3 s")
                assert await client.probe() == Unanswered("timed out after 0.1 s")
            assert len(node.asked) == 3
            assert client.health.probe_reason == "timed out after 0.1 s"

    asyncio.run(test())


def test_the_time_out_bounds_the_call_with_its_retries() -> None:
    async def test() -> None:
        async with listening(said(500), HANG) as node, asking(node.url, time_outs=QUICK) as client:
            async with asyncio.timeout(60):
                assert await client.online_status(["u1"]) == Unanswered("timed out after 0.2 s")
            assert len(node.asked) == 2

    asyncio.run(test())


def test_a_refused_connection_is_told_apart() -> None:
    async def test() -> None:
        with closing(socket.socket()) as unused:
            unused.bind((HOST, 0))
            url = f"http://{HOST}:{unused.getsockname()[1]}"
            async with asking(url) as client:
                assert await client.online_status(["u1"]) == Unanswered("connection refused", refused=True)
                assert client.health.calls == 3
                assert await client.probe() == Unanswered("connection refused", refused=True)
                assert client.health.calls == 4

    asyncio.run(test())


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, "no api_url is set"),
        ("", "no api_url is set"),
        ("127.0.0.1:5001", "api_url is not an address such as http://127.0.0.1:5001"),
        ("ftp://127.0.0.1", "api_url is not an address such as http://127.0.0.1:5001"),
        ("http://", "api_url is not an address such as http://127.0.0.1:5001"),
        ("http://127.0.0.1:99999", "api_url is not an address such as http://127.0.0.1:5001"),
        ("http://127.0.0.1:x", "api_url is not an address such as http://127.0.0.1:5001"),
        ("http://[::1", "api_url is not an address such as http://127.0.0.1:5001"),
        ("http://127.0.0.1/?a=b", "api_url is not an address such as http://127.0.0.1:5001"),
        ("http://a\0b/", "api_url is not an address such as http://127.0.0.1:5001"),
    ],
)
def test_an_address_that_is_none_is_said_by_every_call(url: str | None, reason: str) -> None:
    async def test() -> None:
        async with asking(url) as client:
            for _ in range(10):
                assert await client.online_status(["u1"]) == Unanswered(reason)
            assert await client.connections() == Unanswered(reason)
            assert await client.boot() == Unanswered(reason)
            assert await client.probe() == Unanswered(reason)
            assert (client.health.last_reason, client.health.calls) == (reason, 0)

    asyncio.run(test())


@pytest.mark.parametrize("url", ["http://a..b", "http://" + "a" * 64 + ".invalid", "http://nowhere.invalid"])
def test_a_host_that_cannot_be_found_is_an_answer_missing(url: str) -> None:
    async def test() -> None:
        async with asking(url) as client:
            answer = await client.probe()
            assert isinstance(answer, Unanswered)
            assert not answer.refused

    asyncio.run(test())


def test_a_body_is_read_no_further_than_the_longest_right_answer_to_what_was_asked() -> None:
    async def test() -> None:
        endless = said(200, b"[" + b" " * 20_000_000)
        async with listening(endless) as node, asking(node.url) as client:
            assert await client.online_status(["u1"]) == Unanswered("an answer of more than 4 MiB", long_held=True)
            assert await client.probe() == Unanswered("an answer of more than 64 KiB", long_held=True)
            assert len(node.asked) == 2
            node.says(said(200, b" " * 5_000_000 + b"[]"))
            assert await client.online_status([f"user-{number}" for number in range(1000)]) == OnlineRows({})
        async with listening(endless) as node, asking(node.url, profile=Profile.V3) as client:
            assert await client.probe() == Unanswered("an answer of more than 4 MiB", long_held=True)

    asyncio.run(test())


def test_a_defect_in_reading_an_answer_fails_that_look_and_no_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def defect(*_: object) -> OnlineRows:
        raise KeyError("a secret in the answer")

    monkeypatch.setattr(client_module, "read_online_status", defect)

    async def test() -> None:
        async with listening(rows("u1"), VARZ) as node, asking(node.url) as client:
            expected = Unanswered("an answer that could not be read (KeyError)", answered=True)
            assert await client.online_status(["u1"]) == expected
            assert client.health.failures_in_a_row == 1
            assert isinstance(await client.probe(), Boot)

    asyncio.run(test())


def test_a_large_answer_is_read_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def spy(status: int, body: bytes, asked: Collection[str]) -> OnlineRows | Unanswered:
        threads.append(threading.current_thread())
        return read_online_status(status, body, asked)

    monkeypatch.setattr(client_module, "read_online_status", spy)

    async def test() -> None:
        many = [f"u{number}" for number in range(8000)]
        async with listening(rows(*many)) as node, asking(node.url) as client:
            answer = await client.online_status(many[:1000])
            assert isinstance(answer, OnlineRows)
            assert (len(answer.rows), answer.odd) == (1000, 7000)
            node.says(rows("u1"))
            await client.online_status(["u1"])
            assert [thread is threading.main_thread() for thread in threads] == [False, True]

    asyncio.run(test())


def test_a_closed_client_says_so() -> None:
    async def test() -> None:
        async with listening(VARZ) as node, asking(node.url) as client:
            await client.close()
            assert await client.probe() == Unanswered("the client is closed")
            assert await client.boot() == Unanswered("the client is closed")
            assert node.asked == []

    asyncio.run(test())
