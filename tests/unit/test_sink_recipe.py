"""The recipe of `docs/push.md` for a backend that keeps a table of its own, run as it stands there."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.recipes import recipe

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def table() -> dict[str, Any]:
    return {}


def posted(table: dict[str, Any], *changes: tuple[str, str, str, int, str], secret: str = SECRET) -> int:
    """Post changes: user, status, epoch, position and instant of each -> the status answered."""
    items = [
        {"uid": uid, "status": status, "as_of": {"epoch": epoch, "position": position, "at": at}}
        for uid, status, epoch, position, at in changes
    ]
    body = json.dumps({"type": "presence.changed", "data": {"changes": items}})
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", now, body),
    }
    names: dict[str, Any] = {"SECRET": SECRET}
    exec(recipe("push.md", "table"), names)  # noqa: S102  (of our own docs)
    status: int = names["handle"](body, headers, table)
    return status


def test_the_later_wins_whatever_the_order_of_arrival(table: dict[str, Any]) -> None:
    assert posted(table, ("ann", "online", "a", 7, "2026"), ("ben", "online", "a", 7, "2026")) == 204
    posted(table, ("ann", "offline", "a", 5, "2026"), ("ben", "offline", "a", 7, "2027"))
    assert (table["ann"]["status"], table["ben"]["status"]) == ("online", "offline")
    posted(table, ("ann", "unknown", "b", 1, "2025"))
    assert table["ann"]["status"] == "unknown"


def test_what_another_signed_is_not_taken(table: dict[str, Any]) -> None:
    with pytest.raises(WebhookVerificationError):
        posted(table, ("ann", "online", "a", 7, "2026"), secret="whsec_" + "A" * 32)
    assert table == {}
