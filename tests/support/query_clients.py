"""Live clients for tests: a budget that holds nobody up, no pauses between attempts, and a wall clock that stands."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from ledger.domain.observation import Instant
from ledger.domain.profile import Profile
from ledger.sources.wukongim.budget import Budget
from ledger.sources.wukongim.client import QueryClient
from ledger.sources.wukongim.query_node import QueryNode, TimeOuts

NOW = 1_795_000_000_000_000
QUICK = TimeOuts(connect=0.2, call=0.2, connections=0.3, probe=0.1)
PATIENT = TimeOuts(connect=60.0, call=60.0, connections=60.0, probe=60.0)
"""More than a busy machine takes."""


async def no_pause(_: float) -> None:
    """In place of sleeping."""
    await asyncio.sleep(0)


@asynccontextmanager
async def asking(
    url: str | None,
    *,
    profile: Profile = Profile.V2_2,
    token: str | None = None,
    budget: Budget | None = None,
    time_outs: TimeOuts | None = None,
    now: Callable[[], Instant] = lambda: NOW,
    random: Random | None = None,
    sleep: Callable[[float], Awaitable[None]] = no_pause,
    **more: Any,
) -> AsyncIterator[QueryClient]:
    """A client of the node at this address."""
    client = QueryClient(
        QueryNode("n1", url, token, profile),
        budget or Budget(1e6, 1e9),
        now,
        random=random or Random(1),
        sleep=sleep,
        time_outs=time_outs or PATIENT,
        **more,
    )
    try:
        yield client
    finally:
        await client.close()
