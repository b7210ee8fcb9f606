"""What query APIs answer, parsed: odd and failed answers say nothing, and none ever means "all offline"."""

import json
from typing import Any

import pytest

from ledger.domain.observation import SECOND
from ledger.sources.wukongim.answers import (
    EARLY,
    LAG,
    Boot,
    OnlineRows,
    Unanswered,
    read_connections,
    read_online_status,
    read_start_time,
    read_uptime,
)

T = 1_800_000_000 * SECOND
NOT_ROWS = Unanswered("not a list of rows", answered=True)
NOT_A_PAGE = Unanswered("not a complete list of connections", answered=True)
NOT_VARZ = Unanswered("not a node's status with its uptime", answered=True)
REFUSED_TOKEN = Unanswered("401: the token is refused", answered=True)


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def online(uid: Any = "u", flag: Any = 0, state: Any = 1, **more: Any) -> dict[str, Any]:
    return {"uid": uid, "device_flag": flag, "online": state, **more}


FAILURES = [
    pytest.param(401, b"", REFUSED_TOKEN, id="401"),
    pytest.param(400, b'{"msg":"peer failed [401]","status":400}', "400: peer failed [401]", id="400 with its message"),
    pytest.param(400, b'{"msg":"","status":400}', "400", id="400 with an empty message"),
    pytest.param(400, b'{"msg":7}', "400", id="400 with an odd message"),
    pytest.param(
        400, dumped({"msg": "\x1b]0;owned\x07\u202e"}), "400: \\x1b]0;owned\\x07\\u202e", id="control characters"
    ),
    pytest.param(400, b"[]", "400", id="400 with a list"),
    pytest.param(500, b"<html>oops</html>", "500", id="500 with HTML"),
    pytest.param(503, b"\xff", "503", id="503 with no text"),
    pytest.param(204, b"", "204", id="204"),
    pytest.param(400, dumped({"msg": "x" * 900}), "400: " + "x" * 900, id="cut by the client, which knows the token"),
    pytest.param(400, b'{"msg":' + b"[" * 100_000, "400", id="a deep one"),
]


@pytest.mark.parametrize(("status", "body", "expected"), FAILURES)
def test_a_failed_answer_has_its_reason(status: int, body: bytes, expected: Unanswered | str) -> None:
    unanswered = Unanswered(expected, answered=True) if isinstance(expected, str) else expected
    assert read_online_status(status, body, {"u"}) == unanswered
    assert read_connections(status, body) == unanswered
    assert read_uptime(status, body, T, T) == unanswered
    assert read_start_time(status, body) == unanswered


NONSENSE = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"<html></html>", id="HTML"),
    pytest.param(b'[{"uid":"u","device_fl', id="half a JSON"),
    pytest.param(b"[" * 100_000, id="too deep"),
    pytest.param(b'"\xff"', id="no UTF-8"),
]


@pytest.mark.parametrize("body", NONSENSE)
def test_what_is_no_json_is_no_answer(body: bytes) -> None:
    assert isinstance(read_online_status(200, body, {"u"}), Unanswered)
    assert isinstance(read_uptime(200, body, T, T), Unanswered)
    assert isinstance(read_connections(200, body), Unanswered)


# POST /user/onlinestatus


def test_rows_are_counted_by_device_flag() -> None:
    rows = [online(), online(), online(flag=1), online("v", 255)]
    assert read_online_status(200, dumped(rows), ["u", "v", "w"]) == OnlineRows({"u": {0: 2, 1: 1}, "v": {255: 1}})


@pytest.mark.parametrize("body", [b"[]", b"null", b" [ ] "])
def test_an_empty_answer_says_that_nobody_asked_about_is_connected(body: bytes) -> None:
    assert read_online_status(200, body, {"u"}) == OnlineRows({})


ERRORS_IN_A_200 = [
    pytest.param({"status": 400, "msg": "peer down"}, id="an error"),
    pytest.param({}, id="an empty object"),
    pytest.param({"status": 200}, id="the answer to an empty list, which is never asked about"),
    pytest.param({"code": 0, "data": []}, id="an envelope around rows"),
    pytest.param({"code": 0, "data": {"connections": [], "total": 0, "offset": 0, "limit": 9}}, id="around a page"),
    pytest.param({"code": 0, "data": {"server_id": "1", "version": "", "connections": 0, "uptime": "3s"}}, id="varz"),
    pytest.param("u", id="a text"),
    pytest.param(7, id="a number"),
    pytest.param(True, id="a truth"),
]


@pytest.mark.parametrize("answer", ERRORS_IN_A_200)
def test_what_is_not_the_whole_form_is_not_an_answer(answer: Any) -> None:
    body = dumped(answer)
    assert read_online_status(200, body, {"u"}) == NOT_ROWS
    assert read_connections(200, body) == NOT_A_PAGE
    assert read_uptime(200, body, T, T) == NOT_VARZ


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(online(None), id="no uid"),
        pytest.param(online(7), id="a number for a uid"),
        pytest.param(online(state=0), id="offline, which is never said"),
        pytest.param(online(state=True), id="a truth for online"),
        pytest.param(online(state="1"), id="a text for online"),
        pytest.param(online(flag=256), id="not a device flag"),
        pytest.param(online(flag=-1), id="a negative flag"),
        pytest.param(online(flag="0"), id="a text for a flag"),
        pytest.param(online(flag=True), id="a truth for a flag"),
        pytest.param(online(flag=None), id="no flag"),
        pytest.param({"uid": "u", "online": 1}, id="a row without its flag"),
        pytest.param({"uid": "u", "device_flag": 0}, id="a row that does not say online"),
        pytest.param({}, id="nothing"),
        pytest.param("u", id="a text"),
        pytest.param(None, id="null"),
    ],
)
def test_one_row_without_its_form_makes_the_whole_answer_none(odd: Any) -> None:
    """The users it was about would be taken to be offline."""
    assert read_online_status(200, dumped([online(), odd]), {"u": 1}) == NOT_ROWS


def test_rows_of_others_are_left_out_and_counted() -> None:
    assert read_online_status(200, dumped([online("v"), online()]), {"u": 1}) == OnlineRows({"u": {0: 1}}, odd=1)


def test_an_answer_about_others_alone_is_to_another_question() -> None:
    reason = "an answer about users who were not asked about"
    assert read_online_status(200, dumped([online("v")]), {"u"}) == Unanswered(reason, answered=True)


def test_unknown_fields_and_custom_flags_are_no_matter() -> None:
    assert read_online_status(200, dumped([online(flag=99, since="2026")]), ("u",)) == OnlineRows({"u": {99: 1}})


HUGE = b"1" * 5000


@pytest.mark.parametrize(
    "body",
    [
        b'{"connections":[],"total":%b,"offset":0,"limit":9}' % HUGE,
        b'{"connections":[{"id":%b}],"total":1,"offset":0,"limit":9}' % HUGE,
        b'{"server_id":%b,"version":"","connections":1,"uptime":"3s"}' % HUGE,
        b'{"server_id":"1","version":"","connections":%b,"uptime":"3s"}' % HUGE,
        b'[{"uid":"u","device_flag":%b,"online":1}]' % HUGE,
        b'[{"uid":"u","device_flag":0,"online":%b}]' % HUGE,
        b"[%b]" % HUGE,
        HUGE,
        b"[" + b"{}," * 1_000_000,
        b'{"connections":[],"total":1e400,"offset":0,"limit":9}',
        b'{"connections":[],"total":0,"offset":0,"limit":9,"more":' + b"[" * 100_000,
        b'{"uptime":"3s","more":' + b'{"a":' * 100_000,
        b'[{"uid":"\\ud800","device_flag":0,"online":1}]',
    ],
    ids=range(13),
)
def test_no_body_raises(body: bytes) -> None:
    assert isinstance(read_online_status(200, body, {"u"}), Unanswered)
    assert isinstance(read_connections(200, body), Unanswered)
    assert isinstance(read_uptime(200, body, T, T), Unanswered)
    assert isinstance(read_start_time(200, body), Unanswered)


# GET /varz

VARZ = {"server_id": "1001", "version": "", "connections": 7, "uptime": "3s"}


@pytest.mark.parametrize(
    ("uptime", "seconds"),
    [("0s", 0), ("3s", 3), ("1m2s", 62), ("1h2m3s", 3723), ("2d1h0m5s", 176_405), ("1y0d0h0m0s", 31_536_000)],
)
def test_an_uptime_tells_when_a_node_booted(uptime: str, seconds: int) -> None:
    body = dumped(VARZ | {"uptime": uptime})
    asked, answered = T, T + SECOND // 2
    boot = Boot(asked - (seconds + 1) * SECOND - LAG, answered - seconds * SECOND, 1001)
    assert read_uptime(200, body, asked, answered) == boot


@pytest.mark.parametrize("server_id", ["n1", "", "0", "²", "-1", "1" * 20, "1" * 5000, str(2**63)])
def test_a_node_may_not_tell_its_number(server_id: str) -> None:
    boot = read_uptime(200, dumped(VARZ | {"server_id": server_id}), T, T)
    assert isinstance(boot, Boot)
    assert boot.node_id is None


@pytest.mark.parametrize(
    "answer",
    [
        *({name: value for name, value in VARZ.items() if name != left_out} for left_out in VARZ),
        *(VARZ | {name: None} for name in VARZ),
        VARZ | {"server_id": 1001},
        VARZ | {"uptime": 7},
        [],
        None,
    ],
)
def test_a_node_that_does_not_tell_all(answer: Any) -> None:
    assert read_uptime(200, dumped(answer), T, T) == NOT_VARZ


@pytest.mark.parametrize(
    "uptime", ["", "3.5s", "-3s", "3s1m", "soon", "9999999999s", "101y", "999999999y", "3" * 5000 + "s"]
)
def test_an_uptime_that_is_not_one(uptime: str) -> None:
    body = dumped(VARZ | {"uptime": uptime})
    assert read_uptime(200, body, T, T) == Unanswered("an uptime that is not a duration", answered=True)


# GET /metrics


@pytest.mark.parametrize(
    "line",
    [
        b"process_start_time_seconds 1.8e+09",
        b"process_start_time_seconds 1800000000.00",
        b'process_start_time_seconds{node="1"} 1.8e9  ',
        b"# HELP process_start_time_seconds Start\ngo_goroutines 7\nprocess_start_time_seconds 1.8e+09\nmore 1\n",
        b'process_start_time_seconds{job="a } b"} 1.8e9 1800000123000\n',
    ],
)
def test_metrics_tell_the_start_which_is_a_little_early(line: bytes) -> None:
    assert read_start_time(200, line) == Boot(T, T + EARLY)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"go_goroutines 7\n",
        b"process_start_time_seconds\n",
        b"process_start_time_seconds soon\n",
        b"process_start_time_seconds -1.8e9\n",
        b"process_start_time_seconds NaN\n",
        b"process_start_time_seconds inf\n",
        b"process_start_time_seconds 1e300\n",
        b"process_start_time_seconds 1e11\n",
        b"process_start_time_seconds_max 1.8e9\n",
        b"process_start_time_seconds_max{} 1.8e9\n",
        b"process_start_time_seconds1.8e9\n",
        b"process_start_time_seconds 1.8e9 1 2\n",
        b"process_start_time_seconds{ 1.8e9\n",
        b"process_start_time_seconds{" * 60_000,
        b"process_start_time_seconds{\n" * 60_000,
        b"process_start_time_seconds 1e999\n",
        b"process_start_time_seconds ..\n",
        b"process_start_time_seconds e+e\n",
        b"<html>process_start_time_seconds 1.8e9</html>",
    ],
)
def test_metrics_without_a_start(body: bytes) -> None:
    assert read_start_time(200, body) == Unanswered("no process_start_time_seconds", answered=True)
