"""The projections that follow the ledger in batches, by name."""

from collections.abc import Mapping

from projections.engine.projection import Projection
from projections.models import blind, drifts, loss, outages, sessions, snapshots

_ALL: tuple[Projection, ...] = (
    drifts.PROJECTION,
    sessions.PROJECTION,
    snapshots.PROJECTION,
    outages.PROJECTION,
    loss.PROJECTION,
    blind.PROJECTION,
)

FOLLOWING: Mapping[str, Projection] = {each.name: each for each in _ALL}
