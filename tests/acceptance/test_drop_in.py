"""The recipe beside a business server that got WuKongIM's webhooks before: its settings, as the docs show them."""

import json
from collections.abc import Iterator

import pytest

from ledger.simulator.business_server import BusinessServer, serving
from tests.support.im_node import ImNode, im_node
from tests.support.recipes import recipe
from tests.support.service import PRESENCE_EVENT, SECRET, Api, Service, new_service, wait_for

MESSAGES = b'[{"message_id":1,"payload":"aGk="}]'


@pytest.fixture
def business() -> Iterator[BusinessServer]:
    with serving() as business:
        business.keep = True
        yield business


@pytest.fixture
def node() -> Iterator[ImNode]:
    with im_node() as node:
        yield node


@pytest.fixture
def service(
    business: BusinessServer, node: ImNode, tmp_path_factory: pytest.TempPathFactory, database_url: str
) -> Iterator[Service]:
    """A service with the settings of the page, whose addresses are those of the toys."""
    shown = recipe("push.md", "drop-in")
    for theirs, ours in (("http://tangsengdaodao:8090/v2/webhook", business.url), ("http://wukongim:5001", node.url)):
        assert theirs in shown
        shown = shown.replace(theirs, ours)
    # Made at the first start, where none is set; here the tests post with their own.
    shown = shown.replace('name = "main"', f'name = "main"\nwebhook_secret = "{SECRET}"')
    folder = tmp_path_factory.mktemp("drop-in")
    with new_service(folder, folder / "data", database_url=database_url, tables=shown) as service:
        yield service.start()


def test_it_gets_what_it_got_and_presence_is_answered_here(
    service: Service, business: BusinessServer, node: ImNode
) -> None:
    with Api(service) as api:
        path = f"/hooks/main/n1/{SECRET}"
        business.answer = b'{"status":200}'
        for event in ("msg.notify", "msg.offline"):
            answer = api.http.post(path, params={"event": event}, content=MESSAGES)
            assert (answer.status_code, answer.content) == (200, business.answer)
        item = node.connect("alice")
        api.deliver(item)
        wait_for(lambda: len(business.taken) >= 3, service.log)
        assert [(taken.event, json.loads(taken.body)) for taken in business.taken] == [
            ("msg.notify", json.loads(MESSAGES)),
            ("msg.offline", json.loads(MESSAGES)),
            (PRESENCE_EVENT, [item]),
        ]
        assert api.presence("alice")["status"] == "online"
        # What it posts to users who may be away, it may ask us about first.
        reach = api.http.post("/v1/reach/query", json={"uids": ["alice", "bob"]}).json()["items"]
        assert [each["push"] for each in reach] == [False, True]
