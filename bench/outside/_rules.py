"""A service whose one source hears webhooks alone while the other one's node is asked, and what it says of users."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import httpx2

from bench._service import KEY, SECRET, Service
from bench.outside._cases import scratch
from bench.outside._product import EVENT, at_work, until_exit
from tests.support.im_node import Answer, ImNode, im_node
from tests.support.service import source_table

VIP_SECONDS = 2.0
GRACE_SECONDS = 600.0

POLICY = f"""
[policy]
grace_seconds = {GRACE_SECONDS}
tier_vip_seconds = {VIP_SECONDS}
confirm_seconds = 1
"""

_numbers = count(1)


class Rules(Service):
    """The service, with the node that it asks by name, which has nothing of `/connz`."""

    def __init__(self, folder: Path, node: ImNode) -> None:
        super().__init__(folder)
        self.node = node
        node.lies["/connz"] = Answer(404, b"{}")
        deaf = source_table("deaf", {"n1": "", "n2": ""}, profile="v2.1", webhook_secret=SECRET)
        self.configure(deaf + source_table("asked", {"n1": node.url}, webhook_secret=SECRET) + POLICY)
        self.client = httpx2.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=600.0,
            trust_env=False,
        )

    def post(self, *items: str, node: str = "n1", source: str = "deaf") -> float:
        """A webhook -> the seconds that its answer took."""
        return self.post_body(json.dumps(items).encode(), node, source)

    def post_body(self, body: bytes, node: str = "n1", source: str = "deaf") -> float:
        """The same of any body."""
        began = time.monotonic()
        answer = self.client.post(f"/hooks/{source}/{node}/{SECRET}", params={"event": EVENT}, content=body)
        assert answer.status_code == 200, f"{len(body):,} bytes of {node} were answered {answer.status_code}"
        return time.monotonic() - began

    def get(self, path: str, **params: str | int) -> Any:
        answer = self.client.get(path, params=params)
        answer.raise_for_status()
        return answer.json()

    def presence(self, uid: str) -> Any:
        return self.get(f"/v1/users/{uid}/presence")

    def events(self, uid: str) -> list[Any]:
        """The user's, the last 1,000 of them, in their order."""
        found: list[Any] = self.get(f"/v1/users/{uid}/events", order="desc", limit=1000)["items"]
        return found[::-1]

    def ledger(self, after: int = 0) -> Iterator[Any]:
        """All events after a position."""
        following: str | None = str(after)
        while following is not None:
            page = self.get("/v1/ledger/events", after=following, limit=10_000)
            yield from page["items"]
            following = page["next"]

    def head(self) -> int:
        position: int = self.presence("nobody")["as_of"]["position"]
        return position


@cache
def service() -> Rules:
    """One for all cases."""
    return until_exit(_rules())


@contextmanager
def _rules() -> Iterator[Rules]:
    with scratch() as folder, im_node() as node, at_work(Rules(folder, node)) as rules, rules.client:
        yield rules


def new_uid() -> str:
    """A user whom no other case has named."""
    return f"user-{next(_numbers)}"
