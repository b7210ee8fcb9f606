"""An instance's pools of connections: how many PostgreSQL allows, and those that are read over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import structlog
from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from ledger.settings import Settings
from ledger.store import migrate, preflight, two_ways
from ledger.store.ledger import CONNECT_SECONDS, RECONNECT_SECONDS
from ledger.store.pooled import Route
from ledger.store.session import APPLICATION

log = structlog.get_logger()

LARGE_IDLE_SECONDS = 10.0
"""Seldom used, and others may have too few."""

Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]
LargePool = ConnectionPool[Connection[TupleRow]]


class Pools(NamedTuple):
    """Connections for reading: for what is answered at once, and for many users at a time."""

    short: Pool
    large: LargePool


def sizes_for(database_url: str, settings: Settings) -> preflight.PoolSizes:
    """How many connections each pool may hold; says what is worth a word of the database. Raises DatabaseUnfit."""
    alongside = preflight.ALONGSIDE_CONNECTIONS * ((settings.front_listen is not None) + bool(settings.sinks))
    examined = migrate.examine(database_url)
    for warned in examined.warnings(alongside):
        log.warning(warned.event, reason=warned.reason, way_out=warned.way_out)
    allowed, _ = preflight.connections(examined.facts)
    return preflight.pools(allowed, alongside)


def route_for(database_url: str, settings: Settings) -> Route:
    """How the pools reach the database of this URL: as everything else, unless the settings name a pooler for them.

    Raises DatabaseUnfit, StoreUnavailable.
    """
    if not settings.database_session_url:
        return Route(database_url)
    return two_ways.examine(settings.database_url, database_url)


@asynccontextmanager
async def opened(route: Route, sizes: preflight.PoolSizes) -> AsyncIterator[Pools]:
    """The pools that are read over, until they are left."""
    options: dict[str, Any] = {
        "timeout": CONNECT_SECONDS,
        "reconnect_timeout": RECONNECT_SECONDS,
        "kwargs": {"autocommit": True, "application_name": f"{APPLICATION} reader"} | route.parameters,
        "open": False,
    }
    short: Pool = AsyncConnectionPool(
        route.url, connection_class=route.async_connection_class, min_size=1, max_size=sizes.short, **options
    )
    large: LargePool = ConnectionPool(
        route.url,
        connection_class=route.connection_class,
        min_size=0,
        max_size=sizes.large,
        max_idle=LARGE_IDLE_SECONDS,
        **options,
    )
    async with short:
        with large:
            yield Pools(short, large)
