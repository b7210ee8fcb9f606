"""The projections that follow the ledger in batches, by name."""

from collections.abc import Callable, Mapping
from typing import Any

from psycopg import Cursor

from projections.engine.projection import Projection
from projections.models import blind, boundary, drifts, loss, outages, session_trimming, sessions, snapshots

_ALL: tuple[Projection, ...] = (
    drifts.PROJECTION,
    sessions.PROJECTION,
    snapshots.PROJECTION,
    outages.PROJECTION,
    loss.PROJECTION,
    blind.PROJECTION,
)

FOLLOWING: Mapping[str, Projection] = {each.name: each for each in _ALL}

AFTER_FILLING: Mapping[str, Callable[[Cursor[Any]], None]] = {
    "sessions": session_trimming.trim_rebuilt,
    "snapshots": boundary.carry_over,
}
"""What a rebuild does to the new tables once they are filled, by the projection's name: what no handler knows of."""
