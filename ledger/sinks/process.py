"""The sinks' process: tells receivers alongside the service, and ends when that does.

`python -m ledger.sinks.process`, started as `ledger.server.alongside` says.
"""

import asyncio
from collections.abc import Callable

from ledger.ingest.clock import Clock
from ledger.server import alongside
from ledger.sinks.orders import SinkOrders, decode
from ledger.sinks.service import Sinks

NICENESS = 5
"""Ingest comes first."""


async def tell(orders: SinkOrders, stop: asyncio.Event, new: alongside.NewOrders[SinkOrders]) -> None:
    """Tell receivers until `stop` is set, after new orders those of them. Raises LedgerError where it cannot."""
    clock, ended = Clock(), asyncio.Event()

    def change(changed: SinkOrders) -> None:
        nonlocal orders
        if (changed.sinks, changed.sources) != (orders.sinks, orders.sources):
            ended.set()
        orders = changed

    new.follow(change)
    ending = asyncio.create_task(_set_after(stop, lambda: ended.set()))  # noqa: PLW0108  (whichever is the one then)
    while not stop.is_set():
        ended = asyncio.Event()
        await Sinks(orders.database_url, orders.sinks, orders.sources, clock.now, ended).run()
    await ending


async def _set_after(stop: asyncio.Event, end: Callable[[], None]) -> None:
    await stop.wait()
    end()


def main() -> None:
    """Tell receivers as the first line of standard input says."""
    alongside.run("sinks", decode, tell, niceness=NICENESS)


if __name__ == "__main__":
    main()
