"""The projections that follow the ledger in batches, by name."""

from collections.abc import Mapping

from projections import drifts, snapshots
from projections.projection import Projection

_ALL: tuple[Projection, ...] = (drifts.PROJECTION, snapshots.PROJECTION)

FOLLOWING: Mapping[str, Projection] = {each.name: each for each in _ALL}
