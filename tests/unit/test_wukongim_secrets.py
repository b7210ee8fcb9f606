"""No token and no address with a password comes back from a query API, neither in a reason nor in the log."""

import asyncio
import logging

import pytest

from ledger.sources.wukongim.answers import Unanswered
from ledger.sources.wukongim.client import LONGEST_REASON
from tests.support.query_api import (
    GARBAGE,
    HALF,
    HOST,
    RESET,
    VARZ,
    listening,
    said,
)
from tests.support.query_clients import asking

TOKEN = "t0ken-of-the-manager"


def test_a_token_that_no_header_may_hold_is_said_and_not_shown() -> None:
    async def test() -> None:
        async with listening(VARZ) as node, asking(node.url, token="se\ncret") as client:
            assert await client.boot() == Unanswered("the token holds characters that cannot be sent in a header")
            assert node.asked == []

    asyncio.run(test())


def test_no_reason_and_no_log_line_holds_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        echo = said(400, f'{{"msg":"no access with {TOKEN}","status":400}}')
        async with listening(echo, HALF, RESET, GARBAGE) as node:
            url = f"http://user:passw0rd@{HOST}:{node.port}"
            async with asking(url, token=TOKEN) as client:
                reasons = (await client.online_status(["u1"]), await client.connections(), await client.probe())
                assert reasons[0] == Unanswered("400: no access with ***", answered=True)
                shown = f"{reasons} {client.health} {client.node} {caplog.text}"
                assert TOKEN not in shown
                assert "passw0rd" not in shown

    caplog.set_level(logging.DEBUG)
    asyncio.run(test())


@pytest.mark.parametrize("before", [180, 190, 198, 500])
def test_of_a_token_that_stands_where_a_message_is_cut_nothing_is_left(before: int) -> None:
    async def test() -> None:
        quoting = said(400, f'{{"msg":"{"x" * before} {TOKEN}{"y" * 500}"}}')
        async with listening(quoting) as node, asking(node.url, token=TOKEN) as client:
            answer = await client.online_status(["u1"])
            assert isinstance(answer, Unanswered)
            assert len(answer.reason) == LONGEST_REASON
            assert TOKEN[:4] not in answer.reason

    asyncio.run(test())
