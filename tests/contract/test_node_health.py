"""The health of nodes' query APIs: what was noted last, by source and node."""

from collections.abc import Iterator

import pytest

from ledger.store.ledger import Ledger
from ledger.working_state import node_health
from tests.support import pg
from tests.support.ledgers import opened


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with opened(database_url) as found:
        yield found


@pg.on_every_server
def test_what_was_noted_last_is_read(ledger: Ledger) -> None:
    with ledger.connection() as connection:
        assert node_health.of_source(connection, "main") == {}
        cursor = connection.cursor()
        node_health.write(cursor, "main", {"n1": {"calls": 1, "last_reason": "连接 refused"}, "": {"leader": "i"}})
        node_health.write(cursor, "other", {"n1": {"calls": 7}})
        node_health.write(cursor, "main", {"n1": {"calls": 2}})
        node_health.write(cursor, "main", {})
        assert node_health.of_source(connection, "main") == {"n1": {"calls": 2}, "": {"leader": "i"}}
        assert node_health.of_source(connection, "other") == {"n1": {"calls": 7}}
