"""The health of nodes' query APIs: what was noted last, by source and node."""

from ledger.store.ledger import Ledger
from ledger.working_state import node_health
from tests.support import pg


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
        assert node_health.of_all(connection) == {
            "main": {"n1": {"calls": 2}, "": {"leader": "i"}},
            "other": {"n1": {"calls": 7}},
        }
