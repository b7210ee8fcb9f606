"""A ledger on a database of the test's own, and a connection to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.store.ledger import Ledger
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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slice of everything in an eventful life."""
    return written(slice_of(eventful().kept), tmp_path_factory.mktemp("slices") / "whole.ndjson")


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slice from the middle on, which begins with states."""
    return written(slice_of(eventful().kept, 20), tmp_path_factory.mktemp("slices") / "later.ndjson.gz")
