"""Users who come and go on one device, so that each change of theirs is told; and what is answered of them."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import httpx2
import msgspec
import psycopg

from bench import _service

ASKED_AT_ONCE = 1_000

_FLIPS = """
SELECT substr(stream, 6), position, extract(epoch FROM recorded_at)::float8 FROM events
 WHERE kind = 'webhook_observed.v2' AND position > %s ORDER BY position
"""


class Flips:
    """So many users, some on each node, of whom one after another goes offline or comes online."""

    def __init__(self, users: int, seed: int) -> None:
        self._random = random.Random(seed)
        self.uids = [f"{self._random.getrandbits(96):024x}" for number in range(users)]
        self._online: dict[str, int] = {}
        self._connection = 0

    def first(self, node: int) -> list[str]:
        """Everybody of a node comes online."""
        return [self._flip(uid) for uid in self._of(node)]

    def items(self, node: int, number: int) -> list[str]:
        """The next so many changes on a node, no user twice."""
        return [self._flip(uid) for uid in self._random.sample(self._of(node), number)]

    def _of(self, node: int) -> Sequence[str]:
        return self.uids[node :: _service.NODES]

    def _flip(self, uid: str) -> str:
        connection = self._online.pop(uid, None)
        if connection is not None:
            return f"{uid}-0-0-{connection}-0-0"
        self._connection += 1
        self._online[uid] = self._connection
        return f"{uid}-0-1-{self._connection}-1-1"


def head(url: str) -> int:
    """The last position of the ledger."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT max(position) FROM events").fetchone()
    assert row is not None
    return int(row[0] or 0)


def flips_after(url: str, position: int) -> list[tuple[str, int, float]]:
    """Of each recorded change the user, the position, and when it was recorded, before its commit."""
    with psycopg.connect(url) as connection:
        return connection.execute(_FLIPS, (position,)).fetchall()


def answers(port: int, uids: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is answered of each of these users."""
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:
        client.headers["Authorization"] = f"Bearer {_service.KEY}"
        for start in range(0, len(uids), ASKED_AT_ONCE):
            asked = list(uids[start : start + ASKED_AT_ONCE])
            response = client.post("/v1/presence/query", json={"uids": asked})
            response.raise_for_status()
            yield from zip(asked, response.json()["items"], strict=True)


def differing(told: Sequence[dict[bytes, bytes]], answered: dict[str, dict[str, Any]]) -> int:
    """Of how many readers and users the last that was told is not what is answered."""
    return sum(
        uid.decode() in answered and visible(msgspec.json.decode(data)) != visible(answered[uid.decode()])
        for last in told
        for uid, data in last.items()
    )


def visible(presence: dict[str, Any]) -> tuple[Any, ...]:
    """What of a presence is told whenever it changes."""
    devices = [(each["source"], each["device_flag"], each["status"], each["sessions"]) for each in presence["devices"]]
    return presence["status"], presence["since"], presence["reason"], devices
