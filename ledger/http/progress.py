"""How far the projections have come and which ledger they follow, for health."""

from collections.abc import Sequence

from ledger.domain.instants import from_datetime, to_text
from ledger.http.source_answers import LedgerBody, ProjectionBody, WentBackBody
from ledger.http.state import Services
from ledger.store import identity
from ledger.store.identity import Identity
from ledger.store.ledger import translated
from projections.engine import checkpoints
from projections.engine.checkpoints import Checkpoint


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
