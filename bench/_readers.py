"""Readers of streams, many in one process of their own: `python -m bench._readers`, told what to do on standard input.

Its first line is JSON (`Orders`); once all readers are ready it says `ready`. `{"reach": POSITION, "within": SECONDS}`
waits until all have been told up to there and says how many have not; `end` writes what was told and ends.
"""

import asyncio
import os
import pickle
import random
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec
import uvloop

from bench._service import REPOSITORY

AGAIN_SECONDS = (0.02, 0.4)
NICENESS = 5
"""They stand for other machines."""
OPENING = 64
"""So many open their streams at the same time."""


class Orders(msgspec.Struct):
    """`readers`: whom each names; None: everybody. `keep`: every presence that comes, else the last of each user."""

    port: int
    key: str
    readers: list[list[str] | None]
    keep: bool
    into: str
    """The file that what was told is written to."""


class Told(NamedTuple):
    """What the readers were told, in the end."""

    arrivals: list[tuple[int, bytes, int, float]]
    """Reader, uid, position of its `as_of`, and when it came, in seconds of the wall clock."""
    last: list[dict[bytes, bytes]]
    """Of each reader, of each user: the last presence, as it came."""
    backwards: int
    connections: int
    resumed: dict[str, int]
    """By reason, `recovered` where there is none."""


class _Reader(asyncio.Protocol):
    """One stream, opened again with its cursor wherever it ends."""

    def __init__(self, all_of_them: "_Readers", number: int, uids: Sequence[str] | None) -> None:
        self._all = all_of_them
        self._number = number
        query = [("snapshot", "true")] if uids is None else [("uid", uid) for uid in uids]
        self._path = f"/v1/stream?{urlencode(query)}"
        self._buffer = b""
        self._cursor = b""
        self._as_of: dict[bytes, tuple[int, bytes]] = {}
        self.position = -1
        self.last: dict[bytes, bytes] = {}
        self.is_ready = asyncio.Event()
        self._ended = asyncio.Event()
        self._transport: asyncio.BaseTransport | None = None

    async def follow(self, opening: asyncio.Semaphore) -> None:
        """Open the stream, again and again."""
        loop = asyncio.get_running_loop()
        while True:
            self._buffer = b""
            self._ended.clear()
            self.is_ready.clear()
            try:
                async with opening:
                    await loop.create_connection(lambda: self, "127.0.0.1", self._all.orders.port)
                    self._all.connections += 1
                    ready = asyncio.ensure_future(self.is_ready.wait())
                    ended = asyncio.ensure_future(self._ended.wait())
                    await asyncio.wait([ready, ended], return_when=asyncio.FIRST_COMPLETED)
                    ready.cancel()
                await ended
            except OSError:
                pass
            await asyncio.sleep(random.uniform(*AGAIN_SECONDS))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        resume = f"Last-Event-ID: {self._cursor.decode()}\r\n" if self._cursor else ""
        # In HTTP/1.0 nothing comes in chunks.
        head = f"GET {self._path} HTTP/1.0\r\nAuthorization: Bearer {self._all.orders.key}\r\n{resume}\r\n"
        transport.write(head.encode())  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        now = time.time()
        if self._all.orders.keep and self.is_ready.is_set():
            # Readers are elsewhere: what they make of it takes no time here from those who tell them.
            self._all.kept.append((self, now, data))
            start = data.rfind(b"id: ")
            end = data.find(b"\n", start)
            if 0 <= start < end:
                self.position = int(data[start + 4 : end].split(b".")[1])
            return
        self.take(data, now)

    def take(self, data: bytes, now: float) -> None:
        """Make of it what it says."""
        *frames, self._buffer = (self._buffer + data).split(b"\n\n")
        for frame in frames:
            self._take(frame, now)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()

    def _take(self, frame: bytes, now: float) -> None:
        if frame.startswith(b"id: "):
            self._cursor = frame[4:].partition(b"\n")[0]
            self.position = int(self._cursor.split(b".")[1])
        start = frame.find(b"event: ")
        if start < 0:
            return
        event, _, data = frame[start + 7 :].partition(b"\ndata: ")
        if event == b"presence":
            self._presence(data, now)
        elif event == b"ready":
            self.is_ready.set()
        elif event == b"resumed":
            reason = msgspec.json.decode(data)["reason"] or "recovered"
            self._all.resumed[reason] = self._all.resumed.get(reason, 0) + 1
        elif event == b"gone":
            raise AssertionError("nobody is on a list here")

    def _presence(self, data: bytes, now: float) -> None:
        start = data.index(b'"uid":"') + 7
        uid = data[start : data.index(b'"', start)]
        as_of = data[data.rindex(b'"as_of":{"at":"') + 15 :]
        at, _, rest = as_of.partition(b'","position":')
        position = int(rest[: rest.index(b",")])
        if (position, at) < self._as_of.get(uid, (0, b"")):
            self._all.backwards += 1
        self._as_of[uid] = (position, at)
        self.last[uid] = data
        if self._all.orders.keep:
            self._all.arrivals.append((self._number, uid, position, now))


class _Readers:
    """All of them, and what they were told."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.arrivals: list[tuple[int, bytes, int, float]] = []
        self.kept: list[tuple[_Reader, float, bytes]] = []
        """What is read once all has been told, and when it came."""
        self.backwards = self.connections = 0
        self.resumed: dict[str, int] = {}
        self._lines: asyncio.Queue[str] = asyncio.Queue()

    def _read_orders(self, loop: asyncio.AbstractEventLoop) -> None:
        """The end of its input is the end of the bench, however that ended: nobody waits for what was told."""
        for line in sys.stdin:
            loop.call_soon_threadsafe(self._lines.put_nowait, line.strip())
        os._exit(0)

    async def run(self) -> None:
        """Until the input says `end`."""
        opening = asyncio.Semaphore(OPENING)
        threading.Thread(target=self._read_orders, args=[asyncio.get_running_loop()], daemon=True).start()
        readers = [_Reader(self, number, uids) for number, uids in enumerate(self.orders.readers)]
        following = [asyncio.create_task(reader.follow(opening)) for reader in readers]
        for reader in readers:
            await reader.is_ready.wait()
        _say("ready")
        while (line := await self._lines.get()) != "end":
            order = msgspec.json.decode(line)
            deadline = time.monotonic() + order["within"]
            while time.monotonic() < deadline and any(each.position < order["reach"] for each in readers):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            _say(str(sum(each.position < order["reach"] for each in readers)))
        for task in following:
            task.cancel()
        for reader, now, data in self.kept:
            reader.take(data, now)
        told = Told(self.arrivals, [each.last for each in readers], self.backwards, self.connections, self.resumed)
        await asyncio.to_thread(Path(self.orders.into).write_bytes, pickle.dumps(tuple(told)))
        _say("written")


class Readers:
    """Readers in a process of their own, from `start` to `end`."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench._readers"], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def start(self) -> None:
        """Wait until all have been told what there is."""
        self._ask(msgspec.json.encode(self._orders), b"ready")

    def reach(self, position: int, within: float) -> int:
        """How many have not been told up to there in so many seconds."""
        return int(self._ask(msgspec.json.encode({"reach": position, "within": within})))

    def end(self) -> Told:
        """What they were told."""
        self._ask(b"end", b"written")
        self.close()
        return Told(*pickle.loads(Path(self._orders.into).read_bytes()))  # noqa: S301  (our own)

    def close(self) -> None:
        """End them, whatever they have been told."""
        self._process.kill()
        self._process.wait()

    def _ask(self, line: bytes, expected: bytes = b"") -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        if not answer or (expected and answer != expected):
            raise RuntimeError(f"the readers said {answer!r}")
        return answer


def _say(word: str) -> None:
    print(word, flush=True)


if __name__ == "__main__":
    os.nice(NICENESS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Readers(msgspec.json.decode(sys.stdin.readline(), type=Orders)).run())
    # A thread still reads the input, and an orderly end would want its lock.
    os._exit(0)
