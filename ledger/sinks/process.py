"""The sinks' process: tells receivers alongside the service, and ends when that does.

`python -m ledger.sinks.process`, started as `ledger.server.alongside` says.
"""

import asyncio

from ledger.ingest.clock import Clock
from ledger.server import alongside
from ledger.sinks.orders import Orders, decode
from ledger.sinks.service import Sinks

NICENESS = 5
"""Ingest comes first."""


async def tell(orders: Orders, stop: asyncio.Event) -> None:
    """Tell receivers until `stop` is set. Raises LedgerError where it cannot."""
    await Sinks(orders.database_url, orders.sinks, orders.sources, Clock().now, stop).run()


def main() -> None:
    """Tell receivers as the first line of standard input says."""
    alongside.run("sinks", decode, tell, niceness=NICENESS)


if __name__ == "__main__":
    main()
