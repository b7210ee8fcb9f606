"""Does Redis have what GET answers of every hot user, whatever happens to it; and how much faster is it read?"""

import asyncio
import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx2
import psycopg

from bench import _client, _service
from bench._crowd import as_body
from bench._flips import Flips, answers, head
from bench._postgres import server
from bench._report import Bar, Options, Report, main, number, progress
from ledger.working_state import watch_list_changes
from tests.support.redis_server import RedisServer, redis_server

PREFIX = "pl:"
LISTED = 200
"""Users on a list who were never online."""
BODY_ITEMS = 50
DOWN_SECONDS = 2.0
BACK_SECONDS = 10.0
"""Within so long of Redis' return each hot user has the right value."""
PATIENT_SECONDS = 120.0
"""The same where speed is not asked."""
SAMPLED = 100
READ_USERS = 1_000
CONNECTIONS = 4
LOSSES = ("flushed", "killed", "killed, with what it had saved before")

SINK = """
[[sinks]]
name = "hot"
kind = "redis"
url = "{url}"
prefix = "{prefix}"
"""


def measure(options: Options) -> Report:
    """The load goes on while Redis loses what it has. `--set users= rate= seconds=`."""
    amounts = {
        "users": options.pick(20_000, 200),
        "rate": options.pick(1_000, 100),
        "seconds": options.pick(10, 1),
    } | {name: int(value) for name, value in options.settings.items()}
    flips = Flips(amounts["users"], options.seed)
    listed = [f"listed-{place}" for place in range(LISTED)]
    with (
        server(replace(options, settings={})) as postgres,
        postgres.database() as url,
        redis_server(postgres.folder / "redis") as redis,
        _service.running_with_sinks(
            postgres.folder / "redis_sink", url, SINK.format(url=redis.url, prefix=PREFIX)
        ) as service,
    ):
        with psycopg.connect(url, autocommit=True) as connection:
            watch_list_changes.put(connection, "friends", listed, [], "bench")
        bench = _Bench(service, url, redis, flips, [*flips.uids, *listed], options)
        rows = [bench.lose(loss, amounts["rate"]) for loss in LOSSES]
        read, asked = bench.reads(amounts["seconds"])
        described, version = postgres.describe(), redis.version
    report = Report(
        f"{amounts['users']:,} users of whom half are online, {amounts['rate']:,} items/s, and {LISTED} on a list; "
        f"Redis {version}",
        described,
        ("Redis is", "hot users", "filled after s", "values not as GET says", "nor at their position"),
    )
    for loss, (hot, seconds, wrong, wrong_then) in zip(LOSSES, rows, strict=True):
        report.rows.append((loss, f"{hot:,}", number(seconds), str(wrong), str(wrong_then)))
    longest = max(seconds for _, seconds, _, _ in rows)
    report.bars.append(Bar("filled after Redis' return", longest, BACK_SECONDS, at_least=False, unit="s", speed=True))
    wrong = sum(row[2] for row in rows)
    report.bars.append(Bar("hot users whose value is not what GET answers", wrong, 0, at_least=False))
    wrong_then = sum(row[3] for row in rows)
    report.bars.append(Bar("values that are not what GET answers at their position", wrong_then, 0, at_least=False))
    ratio = read / asked
    report.bars.append(Bar(f"MGET of {READ_USERS:,} users, times POST /v1/presence/query", ratio, 5, True, speed=True))
    report.notes.append(f"MGET {read:,.0f} a second, POST /v1/presence/query {asked:,.0f}; {CONNECTIONS} connections")
    return report


class _Bench:
    """The service, its Redis, and what is asked of both."""

    def __init__(
        self,
        service: _service.Service,
        url: str,
        redis: RedisServer,
        flips: Flips,
        uids: Sequence[str],
        options: Options,
    ) -> None:
        self._service = service
        self._url = url
        self._redis = redis
        self._flips = flips
        self._uids = uids
        self._options = options
        self._random = random.Random(options.seed)
        for node in range(_service.NODES):
            first = flips.first(node)
            half = flips.items(node, len(first) // 2)
            for items in (first, half):
                _client.run(_client.drive(service.port, [iter([service.webhook(as_body(items), node)])]))

    def lose(self, loss: str, rate: int) -> tuple[int, float, int, int]:
        """-> (hot users, seconds until filled, values that are wrong in the end, and of a sample meanwhile)"""
        self._until_filled(PATIENT_SECONDS)
        with _load(self._service, self._flips, rate) as stop:
            time.sleep(1.0)
            self._lose(loss)
            began = time.monotonic()
            patience = PATIENT_SECONDS if self._options.short else BACK_SECONDS
            seconds = self._until_filled(patience)
            wrong_then = self._wrong_at_their_position()
            if not self._options.short:
                time.sleep(max(0.0, began + 0.8 * BACK_SECONDS - time.monotonic()))
            stop()
        hot, wrong = self._wrong()
        while wrong and time.monotonic() < began + patience:
            time.sleep(0.1)
            hot, wrong = self._wrong()
        progress(f"{loss}: filled after {seconds:.2f} s, {wrong} wrong")
        return hot, seconds, wrong, wrong_then

    def reads(self, seconds: int) -> tuple[float, float]:
        """-> (MGETs a second, POSTs a second) of a thousand users each."""
        asked = self._random.sample(self._flips.uids, min(READ_USERS, len(self._flips.uids)))
        body = json.dumps({"uids": asked}).encode()
        request = _client.post("/v1/presence/query", body, _service.KEY)
        posts = _client.run(_rate([lambda: _posting(self._service.port, request)] * CONNECTIONS, seconds))
        gets = _client.run(_rate([lambda: _getting(self._redis.port, asked)] * CONNECTIONS, seconds))
        return gets, posts

    def _lose(self, loss: str) -> None:
        if loss == "flushed":
            self._redis.client.flushall()
            return
        if "saved" in loss:
            self._redis.client.save()
            time.sleep(1.0)
        self._redis.kill()
        time.sleep(DOWN_SECONDS if not self._options.short else 0.2)
        self._redis.start()

    def _until_filled(self, seconds: float) -> float:
        """Until the head says that all values are right as of now."""
        began, position = time.monotonic(), head(self._url)
        while True:
            text = self._redis.get(PREFIX + "head")
            if text is not None and json.loads(text)["position"] >= position:
                return time.monotonic() - began
            if time.monotonic() > began + max(seconds, PATIENT_SECONDS):
                raise RuntimeError(f"Redis is not filled after {seconds:g} s: {text}")
            time.sleep(0.02)

    def _values(self, uids: Sequence[str]) -> dict[str, dict[str, Any]]:
        texts = self._redis.client.mget([f"{PREFIX}presence:{uid}" for uid in uids])
        return {uid: json.loads(text) for uid, text in zip(uids, texts, strict=True) if text is not None}

    def _wrong(self) -> tuple[int, int]:
        """-> (users who are hot, how many of all have not the value that is answered)"""
        found = dict(answers(self._service.port, self._uids))
        values = self._values(self._uids)
        hot = [uid for uid in self._uids if found[uid]["status"] == "online" or uid.startswith("listed-")]
        missing = sum(uid not in values for uid in hot)
        return len(hot), missing + sum(_but_when(value) != _but_when(found[uid]) for uid, value in values.items())

    def _wrong_at_their_position(self) -> int:
        """Of some values, how many are not what is answered at the very instant and position that they name."""
        values = self._values(self._random.sample(self._uids, min(SAMPLED, len(self._uids))))
        with httpx2.Client(base_url=f"http://127.0.0.1:{self._service.port}", trust_env=False, timeout=60) as client:
            client.headers["Authorization"] = f"Bearer {_service.KEY}"
            return sum(_but_when(value) != _but_when(_at(client, uid, value)) for uid, value in values.items())


def _at(client: httpx2.Client, uid: str, value: Mapping[str, Any]) -> dict[str, Any]:
    moment = {"at": value["as_of"]["at"], "position": value["as_of"]["position"]}
    response = client.get(f"/v1/users/{uid}/presence", params=moment)
    response.raise_for_status()
    found: dict[str, Any] = response.json()
    return found


def _but_when(presence: Mapping[str, Any]) -> dict[str, Any]:
    """A presence without when it was made; nobody looks at users here."""
    return {name: value for name, value in presence.items() if name not in ("as_of", "verified_at")}


@contextlib.contextmanager
def _load(service: _service.Service, flips: Flips, rate: int) -> Iterator[Callable[[], None]]:
    """Users come and go until that is called."""
    ending = threading.Event()

    async def post() -> None:
        connection = await _client.connect(service.port)
        choice = random.Random(rate)
        while not ending.is_set():
            node = choice.randrange(_service.NODES)
            items = flips.items(node, min(BODY_ITEMS, len(flips.uids) // _service.NODES))
            answer = await connection.exchange(service.webhook(as_body(items), node))
            if answer.status != 200:
                raise RuntimeError(f"answered {answer.status}")
            await asyncio.sleep(BODY_ITEMS / rate)
        connection.close()

    thread = threading.Thread(target=lambda: _client.run(post()))

    def stop() -> None:
        ending.set()
        thread.join()

    thread.start()
    try:
        yield stop
    finally:
        stop()


Exchange = Callable[[], Any]


async def _rate(connect: Sequence[Callable[[], Any]], seconds: float) -> float:
    """Exchanges a second over so many connections, each with one at a time."""
    exchanges = [await each() for each in connect]
    for exchange in exchanges:
        await exchange()
    began, count = time.perf_counter(), 0

    async def go_on(exchange: Exchange) -> None:
        nonlocal count
        while time.perf_counter() < began + seconds:
            await exchange()
            count += 1

    await asyncio.gather(*(go_on(exchange) for exchange in exchanges))
    return count / (time.perf_counter() - began)


async def _posting(port: int, request: bytes) -> Exchange:
    connection = await _client.connect(port)

    async def exchange() -> None:
        answer = await connection.exchange(request)
        if answer.status != 200:
            raise RuntimeError(f"answered {answer.status}")

    return exchange


async def _getting(port: int, uids: Sequence[str]) -> Exchange:
    """MGET as a gateway's client sends it, the answer read as a whole: every time it has the same length."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    words = [b"MGET", *(f"{PREFIX}presence:{uid}".encode() for uid in uids)]
    request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)

    async def bulk() -> int:
        line = await reader.readuntil(b"\r\n")
        size = int(line[1:-2])
        if size >= 0:
            await reader.readexactly(size + 2)
        return len(line) + (size + 2 if size >= 0 else 0)

    writer.write(request)
    first = await reader.readuntil(b"\r\n")
    length = len(first) + sum([await bulk() for _ in uids])

    async def exchange() -> None:
        writer.write(request)
        await reader.readexactly(length)

    return exchange


if __name__ == "__main__":
    main("redis_sink", "performance.md", measure)
