"""A ledger on a database of the test's own, and a connection to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.store.ledger import Ledger
from projections.queries.archived import Archive
from tests.support.archived import live
from tests.support.following import connect
from tests.support.ledgers import opened
from tests.support.slices import eventful, slice_of, written


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection[TupleRow]]:
    """A connection that commits each statement."""
    with connect(database_url) as connection:
        yield connection


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    """One that is empty, unless the module's fixture of this name fills it."""
    with opened(database_url) as ledger:
        yield ledger


@pytest.fixture
def lived(ledger: Ledger, database_url: str) -> None:
    """Three full partitions of users' lives are in the ledger, to be archived; a module has it by `usefixtures`."""
    live(ledger, database_url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The archive's, which is not there yet; a module overrides it."""
    return tmp_path / "archive"


@pytest.fixture
def asking(ledger: Ledger, database_url: str, folder: Path) -> Archive:
    """What asks the ledger and its archive as one."""
    return Archive(ledger, database_url, folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slice of everything in an eventful life."""
    return written(slice_of(eventful().kept), tmp_path_factory.mktemp("slices") / "whole.ndjson")


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slice from the middle on, which begins with states."""
    return written(slice_of(eventful().kept, 20), tmp_path_factory.mktemp("slices") / "later.ndjson.gz")
