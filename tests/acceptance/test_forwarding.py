"""A service between WuKongIM and a business server: other events go through, presence follows its commit."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from ledger.simulator.business_server import BusinessServer, serving
from tests.support.service import PRESENCE_EVENT, SECRET, Api, Service, new_service, source_table, wait_for

MESSAGE = '[{"message_id":1, "payload":"c2VjcmV0IHRleHQ="},\u00a0{}]'.encode()


def tables_of(forward_url: str) -> str:
    """A source that forwards, and one that does not."""
    forwarding = source_table("main", {"n1": ""}, forward_url=forward_url, forward_presence=True)
    return forwarding + source_table("alone", {"n1": ""})


@pytest.fixture(scope="module")
def business() -> Iterator[BusinessServer]:
    with serving() as business:
        business.keep = True
        yield business


@pytest.fixture(scope="module")
def service_settings(business: BusinessServer) -> dict[str, Any]:
    return {"tables": tables_of(business.url)}


@pytest.fixture(autouse=True)
def well(business: BusinessServer) -> None:
    """Each test begins with a business server that takes everything."""
    business.status, business.answer, business.delay_seconds = 200, b"", 0.0
    business.taken.clear()


def post(api: Api, event: str, body: bytes, source: str = "main") -> tuple[int, bytes]:
    path = f"/hooks/{source}/n1/{SECRET}?event={event}&at=1%2F2"
    answer = api.http.post(path, content=body, headers={"Content-Type": "application/json", "User-Agent": "Go"})
    return answer.status_code, answer.content


def test_a_message_goes_through_as_it_came_and_the_answer_comes_back(api: Api, business: BusinessServer) -> None:
    business.answer = b'{"taken":1}'
    assert post(api, "msg.notify", MESSAGE) == (200, b'{"taken":1}')
    [taken] = business.taken
    assert (taken.target, taken.body) == ("/v1/webhook?event=msg.notify&at=1%2F2", MESSAGE)
    assert (taken.headers["content-type"], taken.headers["user-agent"]) == ("application/json", "Go")


@pytest.mark.parametrize("status", [204, 400, 500, 503])
def test_a_status_that_has_wukongim_try_again_reaches_it(api: Api, business: BusinessServer, status: int) -> None:
    business.status = status
    labels = {"source": "main", "node": "n1", "event": "msg.offline", "outcome": "refused"}
    before = api.counted("webhooks_forwarded", **labels)
    assert post(api, "msg.offline", b"{}")[0] == status
    assert api.counted("webhooks_forwarded", **labels) == before + 1


def test_presence_follows_its_commit_in_order(api: Api, business: BusinessServer) -> None:
    bodies = [json.dumps([f"relayed-0-{online}-1-{online}-{online}"]).encode() for online in (1, 0, 1, 0)]
    for body in bodies:
        # Whatever becomes of it there, WuKongIM has its empty 200.
        assert post(api, PRESENCE_EVENT, body) == (200, b"")
    wait_for(lambda: len(business.taken) >= len(bodies))
    assert [(taken.event, taken.body) for taken in business.taken] == [(PRESENCE_EVENT, body) for body in bodies]
    assert [event["verdict"] for event in api.events("relayed")][:2] == ["opened", "closed"]


def test_without_a_business_server_each_event_is_said_once(service: Service, api: Api) -> None:
    for event in ("msg.notify", "msg.notify", "msg.offline"):
        assert post(api, event, MESSAGE, "alone") == (200, b"")
    swallowed = [json.loads(line) for line in service.log().splitlines() if '"event_swallowed"' in line]
    assert [line["webhook_event"] for line in swallowed] == ["msg.notify", "msg.offline"]
    assert all("forward_url" in line["way_out"] for line in swallowed)


def test_nothing_of_a_message_is_kept(service: Service, api: Api) -> None:
    head = api.head()
    post(api, "msg.notify", MESSAGE)
    assert api.head() == head
    assert "c2VjcmV0IHRleHQ" not in service.log()


def test_a_business_server_that_is_away(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> None:
    with ExitStack() as stack:
        with serving() as gone:
            tables = tables_of(gone.url.replace("http://", "http://app:pass-word@"))
        folder = tmp_path_factory.mktemp("away")
        service = stack.enter_context(new_service(folder, folder / "data", database_url=database_url, tables=tables))
        api = stack.enter_context(Api(service.start()))
        status, text = post(api, "msg.notify", MESSAGE)
        assert (status, json.loads(text)["detail"]) == (502, "the business server took no connection")
        assert post(api, PRESENCE_EVENT, b'["u-0-1-1-1-1"]') == (200, b"")
        labels = {"source": "main", "node": "n1", "event": "msg.notify", "outcome": "unreachable"}
        assert api.counted("webhooks_forwarded", **labels) == 1
        assert service.stop().code == 0
        assert "pass-word" not in service.log()
