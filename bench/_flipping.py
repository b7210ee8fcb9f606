"""Users who come and go at all nodes while something else is tried: each node posts until it is told to stop."""

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterable, Iterator

from bench import _client, _service
from bench._crowd import as_body
from bench._flips import Flips

NODES = range(4)
RETRY_SECONDS = 0.02


@contextlib.contextmanager
def flipping(
    service: _service.Service, flips: Flips, body_items: int, pause_seconds: float
) -> Iterator[Callable[[], None]]:
    """Everybody is online, and then comes and goes until what it gives is called: all has been answered then.

    A body has so many items or as many users as a node has; between two bodies of a node lies that pause, on average.
    """
    ending = threading.Event()
    number = min(body_items, len(flips.uids) // _service.NODES)

    def bodies(node: int) -> Iterator[list[str]]:
        while not ending.is_set():
            yield flips.items(node, number)

    async def all_nodes() -> None:
        await asyncio.gather(*(post(service, node, bodies(node), pause_seconds) for node in NODES))

    def stop() -> None:
        ending.set()
        thread.join()

    _client.run(post(service, 0, [flips.first(node) for node in range(_service.NODES)]))
    thread = threading.Thread(target=lambda: _client.run(all_nodes()))
    thread.start()
    try:
        yield stop
    finally:
        stop()


async def post(service: _service.Service, node: int, bodies: Iterable[list[str]], pause_seconds: float = 0.0) -> None:
    """One node posts bodies of these items, each until it is answered."""
    connection: _client.Connection | None = None
    for items in bodies:
        request = service.webhook(as_body(items), node)
        while True:
            try:
                connection = connection or await _client.connect(service.port)
                if (await connection.exchange(request)).status == 200:
                    break
            except OSError:
                connection = None
            await asyncio.sleep(RETRY_SECONDS)
        await asyncio.sleep(random.uniform(0, 2 * pause_seconds))
