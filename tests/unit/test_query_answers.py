"""What query APIs answer, parsed: odd and failed answers say nothing, and none ever means "all offline"."""

import json
from typing import Any

import pytest

from ledger.domain.observation import SECOND
from ledger.sources.wukongim.answers import (
    EARLY,
    LAG,
    Boot,
    Connection,
    Connections,
    OnlineRows,
    Unanswered,
    read_connections,
    read_online_status,
    read_start_time,
    read_uptime,
)

T = 1_800_000_000 * SECOND
REFUSED_TOKEN = Unanswered("401: the token is refused", answered=True)
NO_JSON = Unanswered("no JSON", answered=True)


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def online(uid: Any = "u", flag: Any = 0, state: Any = 1, **more: Any) -> dict[str, Any]:
    return {"uid": uid, "device_flag": flag, "online": state, **more}


FAILURES = [
    pytest.param(401, b"", REFUSED_TOKEN, id="401"),
    pytest.param(400, b'{"msg":"peer failed [401]","status":400}', "400: peer failed [401]", id="400 with its message"),
    pytest.param(400, b'{"msg":"","status":400}', "400", id="400 with an empty message"),
    pytest.param(400, b'{"msg":7}', "400", id="400 with an odd message"),
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
    assert read_online_status(200, body, {"u"}) == NO_JSON
    assert read_uptime(200, body, T, T) == NO_JSON
    assert isinstance(read_connections(200, body), Unanswered)


# POST /user/onlinestatus


def test_rows_are_counted_by_device_flag() -> None:
    rows = [online(), online(), online(flag=1), online("v", 255)]
    assert read_online_status(200, dumped(rows), ["u", "v", "w"]) == OnlineRows({"u": {0: 2, 1: 1}, "v": {255: 1}})


@pytest.mark.parametrize("body", [b"[]", b"null", b" [ ] "])
def test_an_empty_answer_says_that_nobody_asked_about_is_connected(body: bytes) -> None:
    assert read_online_status(200, body, {"u"}) == OnlineRows({})


@pytest.mark.parametrize("body", [b'{"status":200}', b"{}", b'"u"', b"7", b"true", b'{"rows":[]}'])
def test_what_is_no_list_is_no_answer(body: bytes) -> None:
    """The object answers an empty list of users, which is never asked."""
    assert read_online_status(200, body, {"u"}) == Unanswered("no list of rows", answered=True)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(online("somebody else"), id="a uid not asked for"),
        pytest.param(online(None), id="no uid"),
        pytest.param(online(7), id="a number for a uid"),
        pytest.param(online(state=0), id="offline, which is never said"),
        pytest.param(online(state="1"), id="a text for online"),
        pytest.param(online(flag=256), id="no device flag"),
        pytest.param(online(flag=-1), id="a negative flag"),
        pytest.param(online(flag="0"), id="a text for a flag"),
        pytest.param(online(flag=True), id="a truth for a flag"),
        pytest.param(online(flag=None), id="no flag"),
        pytest.param({}, id="nothing"),
        pytest.param("u", id="a text"),
        pytest.param(None, id="null"),
    ],
)
def test_an_odd_row_is_left_out_and_counted(odd: Any) -> None:
    assert read_online_status(200, dumped([odd, online()]), {"u": 1}) == OnlineRows({"u": {0: 1}}, odd=1)


def test_unknown_fields_and_custom_flags_are_no_matter() -> None:
    assert read_online_status(200, dumped([online(flag=99, since="2026")]), ("u",)) == OnlineRows({"u": {99: 1}})


# GET /connz


def listed(*rows: Any, **more: Any) -> bytes:
    return dumped({"connections": list(rows), "total": len(rows), "offset": 0, "limit": 100_000, **more})


def connected(uid: Any = "u", conn_id: Any = 5, device: Any = "App(从)", **more: Any) -> dict[str, Any]:
    return {"uid": uid, "id": conn_id, "device": device, "ip": "10.0.0.1", **more}


@pytest.mark.parametrize(
    ("label", "flag"),
    [
        ("App(从)", 0),
        ("App(主)", 0),
        ("Web(从)", 1),
        ("PC(从)", 2),
        ("未知", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_a_connection_with_what_its_label_tells(label: Any, flag: int | None) -> None:
    body = listed(connected(device=label, node_id=1001))
    assert read_connections(200, body) == Connections([Connection("u", 5, flag, 1001)])


def test_v1_names_no_node() -> None:
    assert read_connections(200, listed(connected())) == Connections([Connection("u", 5, 0, None)])


@pytest.mark.parametrize(
    "body", [b"{}", b'{"connections":null}', b'{"connections":[]}', b'{"connections":[],"total":2}']
)
def test_a_node_without_connections(body: bytes) -> None:
    """`total` counts sockets, so that it may be more than the list's length."""
    assert read_connections(200, body) == Connections([])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "no list of connections"),
        (b"null", "no list of connections"),
        (b'"u"', "no list of connections"),
        (b'{"connections":{}}', "no list of connections"),
        (b'{"connections":7}', "no list of connections"),
        (b'{"connections":null,"total":3}', "a total without its connections"),
        (listed(connected(), limit=1), "only a page of the connections: limit 1"),
        (listed(connected(), offset=20), "only a page of the connections: limit 100000"),
    ],
)
def test_a_list_that_is_none_or_not_whole_is_no_answer(body: bytes, reason: str) -> None:
    assert read_connections(200, body) == Unanswered(reason, answered=True)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(connected(uid=""), id="an empty uid, of a socket that has not logged in"),
        pytest.param(connected(uid=None), id="no uid"),
        pytest.param(connected(conn_id="5"), id="a text for a connId"),
        pytest.param(connected(conn_id=-5), id="a negative connId"),
        pytest.param(connected(conn_id=None), id="no connId"),
        pytest.param(connected(node_id="n1"), id="a text for a node"),
        pytest.param(connected(node_id=-1), id="a negative node"),
        pytest.param({}, id="nothing"),
        pytest.param([], id="a list"),
        pytest.param(None, id="null"),
    ],
)
def test_an_odd_connection_is_left_out_and_counted(odd: Any) -> None:
    assert read_connections(200, listed(odd, connected())) == Connections([Connection("u", 5, 0, None)], odd=1)


@pytest.mark.parametrize("body", [b"", b'{"connections":[{"uid":"u","id":', b'{"connections":' + b"[" * 100_000])
def test_half_a_list_of_connections_is_no_answer(body: bytes) -> None:
    assert read_connections(200, body) == NO_JSON


def test_a_nodes_own_sockets_are_those_with_its_number_or_with_none() -> None:
    mine, other, v1 = Connection("u", 1, 0, 1001), Connection("v", 2, 0, 1002), Connection("w", 3, 0, None)
    found = Connections([mine, other, v1])
    assert found.own(1001) == [mine, v1]
    assert found.own(None) == [mine, other, v1]


# GET /varz


@pytest.mark.parametrize(
    ("uptime", "seconds"),
    [("0s", 0), ("3s", 3), ("1m2s", 62), ("1h2m3s", 3723), ("2d1h0m5s", 176_405), ("1y0d0h0m0s", 31_536_000)],
)
def test_an_uptime_tells_when_a_node_booted(uptime: str, seconds: int) -> None:
    body = dumped({"server_id": "1001", "uptime": uptime, "connections": 7})
    asked, answered = T, T + SECOND // 2
    boot = Boot(asked - (seconds + 1) * SECOND - LAG, answered - seconds * SECOND, 1001)
    assert read_uptime(200, body, asked, answered) == boot


@pytest.mark.parametrize("server_id", [None, 1001, "n1", "", "0", "²"])
def test_a_node_may_not_tell_its_number(server_id: Any) -> None:
    boot = read_uptime(200, dumped({"server_id": server_id, "uptime": "3s"}), T, T)
    assert isinstance(boot, Boot)
    assert boot.node_id is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({}, "no uptime"),
        ([], "no uptime"),
        (None, "no uptime"),
        ({"uptime": 7}, "no uptime"),
        ({"uptime": ""}, "an uptime that is no duration"),
        ({"uptime": "3.5s"}, "an uptime that is no duration"),
        ({"uptime": "-3s"}, "an uptime that is no duration"),
        ({"uptime": "3s1m"}, "an uptime that is no duration"),
        ({"uptime": "soon"}, "an uptime that is no duration"),
        ({"uptime": "9999999999s"}, "an uptime that is no duration"),
    ],
)
def test_an_uptime_that_is_none(answer: Any, reason: str) -> None:
    assert read_uptime(200, dumped(answer), T, T) == Unanswered(reason, answered=True)


# GET /metrics


@pytest.mark.parametrize(
    "line",
    [
        b"process_start_time_seconds 1.8e+09",
        b"process_start_time_seconds 1800000000.00",
        b'process_start_time_seconds{node="1"} 1.8e9  ',
        b"# HELP process_start_time_seconds Start\ngo_goroutines 7\nprocess_start_time_seconds 1.8e+09\nmore 1\n",
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
        b"process_start_time_seconds 1e999\n",
        b"process_start_time_seconds ..\n",
        b"process_start_time_seconds e+e\n",
        b"<html>process_start_time_seconds 1.8e9</html>",
    ],
)
def test_metrics_without_a_start(body: bytes) -> None:
    assert read_start_time(200, body) == Unanswered("no process_start_time_seconds", answered=True)
