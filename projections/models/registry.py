"""The projections that follow the ledger in batches, by name."""

from collections.abc import Callable, Mapping
from typing import Any

from psycopg import Cursor

from projections.engine.projection import Projection
from projections.models import blind, boundary, drifts, loss, outages, sessions, snapshots

_ALL: tuple[Projection, ...] = (
    drifts.PROJECTION,
    sessions.PROJECTION,
    snapshots.PROJECTION,
    outages.PROJECTION,
    loss.PROJECTION,
    blind.PROJECTION,
)

FOLLOWING: Mapping[str, Projection] = {each.name: each for each in _ALL}

CARRIED_OVER: Mapping[str, Callable[[Cursor[Any]], None]] = {"snapshots": boundary.carry_over}
"""What a rebuild keeps beside what it makes, by the projection's name."""
