"""How far the projections have come and which ledger they follow, for health and metrics."""

import asyncio
from collections.abc import Sequence

from ledger.domain.instants import from_datetime, to_text
from ledger.errors import StoreUnavailable
from ledger.http.source_answers import LedgerBody, ProjectionBody, WentBackBody
from ledger.http.state import Services
from ledger.store import identity
from ledger.store.identity import Identity
from ledger.store.ledger import translated
from ledger.working_state import sinks
from ledger.working_state.sinks import SinkRow
from projections.engine import checkpoints
from projections.engine.checkpoints import Checkpoint

GAUGE_SECONDS = 1.0
"""Metrics are answered without these figures where the database takes longer."""


async def read(services: Services) -> list[Checkpoint]:
    """Every projection's checkpoint, of one moment. Raises StoreUnavailable."""
    with translated():
        async with services.pool.connection() as connection:
            rows = await (await connection.execute(checkpoints.READ)).fetchall()
    return checkpoints.from_rows(rows)


def views(found: Sequence[Checkpoint]) -> dict[str, ProjectionBody]:
    """As health shows them: a projection that lags or has stopped makes no instance unready."""
    return {each.name: ProjectionBody(each.state, each.lag) for each in found}


async def identity_view(services: Services) -> LedgerBody:
    """Which ledger this is and whether it went back, as health shows it. Raises StoreUnavailable."""
    with translated():
        async with services.pool.connection() as connection:
            row = await (await connection.execute(identity.READ)).fetchone()
    assert row is not None
    found = Identity(*row)
    back = None
    if found.went_back_at is not None:
        back = WentBackBody(
            to_text(from_datetime(found.went_back_at)),
            found.went_back_from,
            found.went_back_to,
            being_checked=found.suspect_after is not None,
        )
    return LedgerBody(found.ledger, found.epoch, back)


async def measure(services: Services) -> None:
    """Bring the gauges up to date; what is not known is not shown."""
    counters = services.counters
    try:
        async with asyncio.timeout(GAUGE_SECONDS):
            found = await read(services)
            told = await _read_sinks(services)
    except (StoreUnavailable, TimeoutError):
        counters.projection_lag.clear()
        counters.projection_stopped.clear()
        counters.sinks.show((), 0, 0)
        return
    counters.sinks.show(told, found[0].head, services.clock.now())
    for each in found:
        counters.projection_lag.labels(each.name).set(each.lag)
        counters.projection_stopped.labels(each.name).set(each.stopped_position is not None)


async def _read_sinks(services: Services) -> list[SinkRow]:
    """The sinks of the settings that have begun. Raises StoreUnavailable."""
    names = {each.name for each in services.settings.sinks}
    if not names:
        return []
    with translated():
        async with services.pool.connection() as connection:
            rows = await (await connection.execute(sinks.READ)).fetchall()
    return [row for row in map(sinks.row_of, rows) if row.name in names]
