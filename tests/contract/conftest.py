"""A ledger on a database of the test's own, and a connection to it."""

from collections.abc import Iterator

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.store.ledger import Ledger
from tests.support.following import connect
from tests.support.ledgers import opened


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
