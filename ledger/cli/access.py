"""Opens what commands work with: the settings of this call, the database in use, and a connection to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import typer

from ledger.cli.invocation import Invocation
from ledger.errors import StoreUnavailable
from ledger.settings import Settings, load
from ledger.store import preflight, session
from ledger.store.data_folder import DataFolder
from ledger.store.embedded import EmbeddedPostgres

CONNECT_SECONDS = 10


def settings_from(context: typer.Context) -> Settings:
    """Returns the settings that this call is under. Raises SettingsError."""
    invocation = context.find_object(Invocation)
    return load(invocation.config if invocation else None)


def database_url(settings: Settings) -> str:
    """Returns the URL of the database in use. Raises EmbeddedPostgresError when the embedded one does not run."""
    return settings.database_url or EmbeddedPostgres(settings.data_dir).url()


@contextmanager
def started_database_url(settings: Settings) -> Iterator[str]:
    """Yields the URL of the database in use; an embedded one that does not run is started for so long.

    Raises what claiming the data folder and starting raise.
    """
    embedded = EmbeddedPostgres(settings.data_dir)
    if settings.database_url or embedded.is_running():
        yield database_url(settings)
        return
    with DataFolder(settings.data_dir):
        try:
            yield embedded.start()
        finally:
            embedded.stop()


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
            "The database has no tables of presence ledger yet.\nRun `presence-ledger migrate` first."
        ) from error
    except psycopg.OperationalError as error:
        raise preflight.refusal(error) from error
