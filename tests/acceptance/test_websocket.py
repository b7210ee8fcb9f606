"""WebSockets: the events of the stream, users watched and let be, cursors, and what is wrong told by the close."""

from contextlib import closing
from typing import Any

import pytest

from tests.support.service import Api
from tests.support.streams import FrontedService, Socket


@pytest.fixture(scope="module")
def service(fronted_service: FrontedService) -> FrontedService:
    return fronted_service


def users(told: list[Any]) -> list[tuple[str, str]]:
    return [(each["data"]["uid"], each["data"]["status"]) for each in told if each["event"] == "presence"]


def test_a_snapshot_changes_and_users_watched_on_the_way(service: FrontedService, api: Api) -> None:
    api.deliver("ws-1-0-1-1-1-1")
    with closing(Socket(service.front_port, "/v1/ws?uid=ws-1")) as websocket:
        assert websocket.status == 101
        assert users(websocket.until("ready")) == [("ws-1", "online")]
        websocket.send({"watch": ["ws-2", "ws-1"]})
        assert users(websocket.until("presence")) == [("ws-2", "unknown")]
        api.deliver("ws-2-0-1-2-1-1")
        assert users(websocket.until("presence")) == [("ws-2", "online")]
        websocket.send({"unwatch": ["ws-2"]})
        websocket.send({"watch": ["ws-3"]})
        websocket.until("presence")
        api.deliver("ws-2-0-0-2-0-0", "ws-1-0-0-1-0-0")
        assert users(websocket.until("presence")) == [("ws-1", "offline")]


def test_going_on_from_a_cursor(service: FrontedService, api: Api) -> None:
    with closing(Socket(service.front_port, "/v1/ws?uid=ws-4")) as websocket:
        last = websocket.until("ready")[-1]["id"]
    api.deliver("ws-4-0-1-4-1-1")
    with closing(Socket(service.front_port, f"/v1/ws?uid=ws-4&last_event_id={last}")) as websocket:
        told = websocket.until("ready")
        assert (told[0]["data"]["recovered"], users(told)) == (True, [("ws-4", "online")])
        websocket.send({"resume": last})
        told = websocket.until("ready")
        assert (told[0]["data"]["recovered"], users(told)) == (True, [("ws-4", "online")])


def test_what_cannot_be_done_is_told(service: FrontedService) -> None:
    with closing(Socket(service.front_port, "/v1/ws?uid=ws-5")) as websocket:
        websocket.until("ready")
        websocket.send({"watch": [""]})
        assert "watch.0" in websocket.until("problem")[-1]["data"]["detail"]


@pytest.mark.parametrize("sent", [b"no json", b'{"listen": []}', b"[]", b"[" * 120])
def test_what_is_no_order_ends_it(service: FrontedService, sent: bytes) -> None:
    with closing(Socket(service.front_port, "/v1/ws?uid=ws-6")) as websocket:
        websocket.until("ready")
        websocket.send(sent)
        code, reason = websocket.receive()
        assert code == 1007
        assert "watch" in reason


@pytest.mark.parametrize(("key", "target"), [(None, "/v1/ws?uid=u"), ("nobody", "/v1/ws"), ("", "/v1/ws?bad=1")])
def test_who_may_not_is_told_by_the_close(service: FrontedService, key: str | None, target: str) -> None:
    arguments = {} if key == "" else {"key": key}
    with closing(Socket(service.front_port, target, **arguments)) as websocket:
        code, reason = websocket.receive()
        assert code == 1008
        assert reason
