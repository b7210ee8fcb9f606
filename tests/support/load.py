"""Posts webhooks all the time and remembers what was answered, so that the ledger can be held to it afterwards."""

import asyncio
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal, NamedTuple, Self

from tests.support.service import Api

Outcome = Literal["acknowledged", "refused", "no connection", "cut"]
"""200; another status; nobody listened; the connection ended, or nothing came in time, before a whole answer."""

PAUSE_SECONDS = 0.02
THINK_SECONDS = 0.02
"""Between two POSTs of a sender: the cores are left to the service."""
USERS = 50


class Post(NamedTuple):
    """One POST: its items, how it ended, and when it began and ended, in seconds of the monotonic clock."""

    items: tuple[str, ...]
    outcome: Outcome
    status: int | None
    began: float
    ended: float


@dataclass
class Load:
    """So many senders, each with one POST under way; each POST has items that no other one has.

    `paths` are where they post, one after another in turn of the senders, each a port and a path. With `keep_alive`
    false every POST has a connection of its own. `timeout` bounds a POST, in seconds. It runs in a thread of its own:

        with Load([(8640, "/hooks/main/n1/…?event=user.onlinestatus")]) as load:
            load.wait_for(100)
        assert not load.broken_promises(events)
    """

    paths: list[tuple[int, str]]
    senders: int = 4
    pairs: int = 10
    """Items of a POST are twice as many: each user comes and goes."""
    keep_alive: bool = True
    timeout: float = 60.0
    think: float = THINK_SECONDS
    """Seconds between two POSTs of a sender; with few, one is under way at any instant."""
    name: str = "load"
    """What its users are called: no two loads on one ledger may have the same."""
    posts: list[Post] = field(default_factory=list)
    """In the order in which they ended."""

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._numbers = count(1)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def wait_for(self, posts: int, outcome: Outcome = "acknowledged", seconds: float = 120.0) -> None:
        """Wait until so many more POSTs than now have ended that way."""
        wanted = self.number(outcome) + posts
        with self._changed:
            reached = self._changed.wait_for(lambda: self._failure or self.number(outcome) >= wanted, seconds)
        assert self._failure is None, self._failure
        assert reached, f"{self.number(outcome)} of {wanted} {outcome} within {seconds:g} s"

    def number(self, outcome: Outcome) -> int:
        """How many POSTs have ended that way."""
        return sum(post.outcome == outcome for post in list(self.posts))

    def outcomes(self) -> dict[str, int]:
        """POSTs by how they ended."""
        return dict(Counter(post.outcome for post in list(self.posts)))

    def broken_promises(self, events: Iterable[Mapping[str, Any]]) -> list[str]:
        """What the ledger's events hold against what was answered; empty where all is well.

        Each item of an acknowledged POST is there once; of another one all are there once, or none.
        """
        stored = Counter(event["raw"] for event in events if event["kind"] == "webhook_observed")
        return list(self._broken(stored))

    def _broken(self, stored: Mapping[str, int]) -> Iterator[str]:
        for post in self.posts:
            counts = {stored.get(item, 0) for item in post.items}
            if post.outcome == "acknowledged":
                if counts != {1}:
                    yield f"acknowledged, and stored {sorted(counts)} times: {post.items[0]} …"
            elif counts not in ({0}, {1}):
                yield f"{post.outcome}, and stored in part {sorted(counts)}: {post.items[0]} …"

    def _run(self) -> None:
        try:
            asyncio.run(self._send_all())
        except BaseException as error:  # noqa: BLE001  (raised again where the load is left)
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    async def _send_all(self) -> None:
        async with asyncio.TaskGroup() as senders:
            for number in range(self.senders):
                port, path = self.paths[number % len(self.paths)]
                senders.create_task(self._send(port, path))

    async def _send(self, port: int, path: str) -> None:
        connection: _Connection | None = None
        while not self._stop.is_set():
            items = tuple(self._items(next(self._numbers)))
            began = time.monotonic()
            status: int | None = None
            outcome: Outcome
            try:
                async with asyncio.timeout(self.timeout):
                    if connection is None:
                        connection = await _Connection.open(port)
                    status, goes_on = await connection.post(path, json.dumps(items).encode())
                outcome = "acknowledged" if status == 200 else "refused"
            except ConnectionRefusedError:
                outcome, goes_on = "no connection", False
            except (OSError, EOFError, TimeoutError):
                outcome, goes_on = "cut", False
            self._note(Post(items, outcome, status, began, time.monotonic()))
            if connection is not None and not (goes_on and self.keep_alive):
                await connection.close()
                connection = None
            await asyncio.sleep(self.think if outcome == "acknowledged" else PAUSE_SECONDS)
        if connection is not None:
            await connection.close()

    def _note(self, post: Post) -> None:
        with self._changed:
            self.posts.append(post)
            self._changed.notify_all()

    def _items(self, number: int) -> Iterator[str]:
        for pair in range(self.pairs):
            connection = number * self.pairs + pair
            user = f"{self.name}-{connection % USERS}"
            yield f"{user}-0-1-{connection}-1-1"
            yield f"{user}-0-0-{connection}-0-0"


class _Connection:
    """One connection to this machine's port, one POST after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "_Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def post(self, path: str, body: bytes) -> tuple[int, bool]:
        """The answer's status, and whether the connection goes on. Raises OSError or EOFError where it ended."""
        head = f"POST {path} HTTP/1.1\r\nHost: load\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        self._writer.write(head.encode() + b"\r\n\r\n" + body)
        await self._writer.drain()
        answer = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(line for line in answer.splitlines() if line.startswith("content-length:"))
        await self._reader.readexactly(int(length.partition(":")[2]))
        return int(answer.split(" ", 2)[1]), "connection: close" not in answer

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


def check_ledger(api: Api) -> list[Any]:
    """Every event of the ledger, after checking that it is one: no gap, no double, statuses as the events tell."""
    events = api.ledger()
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))
    streams = defaultdict(list)
    for event in events:
        streams[event.get("uid") or f"source {event['source']}"].append(event)
    for name, stream in streams.items():
        assert [event["version"] for event in stream] == list(range(1, len(stream) + 1)), name
    users = {uid: stream for uid, stream in streams.items() if "uid" in stream[0]}
    for uid, stream in users.items():
        before = ["unknown", *(event["status_after"] for event in stream)]
        assert [event["status_before"] for event in stream] == before[:-1], uid
    shown = {presence["uid"]: presence for presence in api.pages("/v1/presence", limit=10_000)}
    assert {uid: (stream[-1]["status_after"], len(stream)) for uid, stream in users.items()} == {
        uid: (presence["status"], presence["version"]) for uid, presence in shown.items()
    }
    _check_deliveries(events)
    return events


def _check_deliveries(events: list[Any]) -> None:
    """The events of a delivery's items follow it at once, all of them, in their order."""
    for event in events:
        if event["kind"] == "delivery_received":
            items = events[event["position"] : event["position"] + event["items"]]
            assert [(e["delivery"], e["item"]) for e in items] == [
                (event["delivery"], number) for number in range(event["items"])
            ], event
