"""What `GET /connz` answers, parsed: a page is whole, or it says nothing of anybody."""

import json
from typing import Any

import pytest

from ledger.sources.wukongim.answers import (
    NodeConnection,
    NodeConnections,
    Unanswered,
    read_connections,
)

NOT_A_PAGE = Unanswered("not a complete list of connections", answered=True)
NOT_JSON = Unanswered("not JSON", answered=True)


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def listed(*rows: Any, **more: Any) -> bytes:
    return dumped({"connections": list(rows), "total": len(rows), "offset": 0, "limit": 100_000, **more})


def connected(uid: Any = "u", conn_id: Any = 5, device: Any = "App(从)", **more: Any) -> dict[str, Any]:
    return WHOLE_ROW | {"uid": uid, "id": conn_id, "device": device} | more


WHOLE_ROW = {
    "id": 5,
    "uid": "u",
    "ip": "10.0.0.1",
    "port": 40_000,
    "last_activity": "2026-11-23T08:30:04Z",
    "uptime": "3s",
    "idle": "3s",
    "device": "App(从)",
    "device_id": "d1",
    "version": 4,
}


@pytest.mark.parametrize(
    ("label", "flag"), [("App(从)", 0), ("App(主)", 0), ("Web(从)", 1), ("PC(从)", 2), ("未知(从)", None), ("", None)]
)
def test_a_connection_with_what_its_label_tells(label: Any, flag: int | None) -> None:
    body = listed(connected(device=label, node_id=1001))
    assert read_connections(200, body) == NodeConnections([NodeConnection("u", 5, flag, 1001, 3)], 1)


@pytest.mark.parametrize(("uptime", "seconds"), [("1h2m3s", 3723), ("", None), ("soon", None), ("101y", None)])
def test_a_connection_says_how_long_it_has_been_open(uptime: str, seconds: int | None) -> None:
    found = read_connections(200, listed(connected(uptime=uptime)))
    assert isinstance(found, NodeConnections)
    assert [row.up_seconds for row in found.rows] == [seconds]


def test_v1_names_no_node() -> None:
    assert read_connections(200, listed(connected())) == NodeConnections([NodeConnection("u", 5, 0, None, 3)], 1)


def test_a_node_without_connections() -> None:
    """`total` counts sockets, also those that have not logged in."""
    assert read_connections(200, listed()) == NodeConnections([], 0)
    assert read_connections(200, listed(total=2)) == NodeConnections([], 2)


PAGE = {"connections": [], "total": 0, "offset": 0, "limit": 100_000}


@pytest.mark.parametrize(
    "page",
    [
        *({name: value for name, value in PAGE.items() if name != left_out} for left_out in PAGE),
        *(PAGE | {name: None} for name in PAGE),
        PAGE | {"connections": {}},
        PAGE | {"connections": 7},
        PAGE | {"total": -1},
        PAGE | {"total": "0"},
        PAGE | {"total": 10**30},
        [PAGE],
        [],
        None,
    ],
)
def test_a_page_is_whole_or_it_is_not_an_answer(page: Any) -> None:
    assert read_connections(200, dumped(page)) == NOT_A_PAGE


@pytest.mark.parametrize(("more", "limit"), [({"limit": 1}, 1), ({"offset": 20}, 100_000)])
def test_a_page_of_several_is_not_an_answer(more: dict[str, int], limit: int) -> None:
    reason = f"only a page of the connections: limit {limit}"
    assert read_connections(200, listed(connected(), **more)) == Unanswered(reason, answered=True)


@pytest.mark.parametrize(
    "odd",
    [
        *({name: value for name, value in WHOLE_ROW.items() if name != left_out} for left_out in WHOLE_ROW),
        *(WHOLE_ROW | {name: None} for name in WHOLE_ROW),
        connected(7),
        connected(conn_id="5"),
        connected(conn_id=-5),
        connected(conn_id=10**30),
        connected(device=7),
        connected(node_id="n1"),
        connected(node_id=-1),
        {},
        [],
        None,
    ],
)
def test_one_connection_without_its_form_makes_the_whole_answer_none(odd: Any) -> None:
    assert read_connections(200, listed(connected(), odd)) == NOT_A_PAGE


@pytest.mark.parametrize("uid", ["", "a\0b", "x" * 1025], ids=["of a socket that has not logged in", "NUL", "too long"])
def test_a_connection_of_nobody_whom_we_could_know_is_left_out_and_counted(uid: str) -> None:
    body = listed(connected(uid), connected())
    assert read_connections(200, body) == NodeConnections([NodeConnection("u", 5, 0, None, 3)], 2, odd=1)


def test_a_row_that_comes_twice_is_one_connection() -> None:
    body = listed(connected(), connected(), connected(conn_id=6))
    assert read_connections(200, body) == NodeConnections(
        [NodeConnection("u", 5, 0, None, 3), NodeConnection("u", 6, 0, None, 3)], 3
    )


def test_a_page_of_more_rows_than_any_node_holds_is_not_decoded() -> None:
    body = b'{"connections":[' + b"{}," * 1_000_001
    assert read_connections(200, body) == Unanswered("more than 1,000,000 connections", answered=True)


@pytest.mark.parametrize("body", [b"", b'{"connections":[{"uid":"u","id":'])
def test_half_a_list_of_connections_is_no_answer(body: bytes) -> None:
    assert read_connections(200, body) == NOT_JSON


def test_a_nodes_own_sockets_are_those_with_its_number_or_with_none() -> None:
    mine, other, v1 = (
        NodeConnection("u", 1, 0, 1001, 3),
        NodeConnection("v", 2, 0, 1002),
        NodeConnection("w", 3, 0, None),
    )
    found = NodeConnections([mine, other, v1], 3)
    assert found.own(1001) == [mine, v1]
    assert found.own(None) == [mine, other, v1]
