"""Opens the database that a command works on: its URL, started where it is the embedded one, and a connection."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import structlog

from ledger.errors import StoreUnavailable
from ledger.server.logs import configure_logging
from ledger.settings import Settings
from ledger.store import preflight, session
from ledger.store.data_folder import DataFolder
from ledger.store.embedded import EmbeddedPostgres

CONNECT_SECONDS = 10


def database_url(settings: Settings) -> str:
    """Returns the URL of the database in use, whose connections are sessions.

    Raises EmbeddedPostgresError when the embedded one does not run.
    """
    return settings.sessions_url or EmbeddedPostgres(settings.data_dir).url()


@contextmanager
def started_database_url(settings: Settings) -> Iterator[str]:
    """Yields the URL of the database in use; an embedded one that does not run is started for the duration.

    Raises what claiming the data folder and starting raise.
    """
    embedded = EmbeddedPostgres(settings.data_dir)
    with _logged(settings):
        if settings.database_url or embedded.is_running():
            yield database_url(settings)
            return
        with DataFolder(settings.data_dir):
            try:
                yield embedded.start()
            finally:
                embedded.stop()


@contextmanager
def _logged(settings: Settings) -> Iterator[None]:
    """What the service would log, a command logs to standard error: what it prints may be read by a program."""
    before = structlog.get_config()
    configure_logging(settings.log_level, settings.log_format)
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def connected(settings: Settings) -> Iterator["psycopg.Connection[Any]"]:
    """Yields a connection to the database in use. Raises StoreUnavailable, EmbeddedPostgresError."""
    with connected_to(database_url(settings)) as connection:
        yield connection


@contextmanager
def connected_to(url: str) -> Iterator["psycopg.Connection[Any]"]:
    """Yields a connection to this database. Raises StoreUnavailable."""
    try:
        with session.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
            yield connection
    except psycopg.errors.UndefinedTable as error:
        raise StoreUnavailable(
            "The database does not have presence ledger's tables yet.\nRun `presence-ledger migrate` first."
        ) from error
    except psycopg.OperationalError as error:
        raise preflight.refusal(error, url) from error
