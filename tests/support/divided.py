"""A ledger in small partitions, as years leave it in large ones; and one as a version before partitions left it."""

import psycopg

from ledger.store import migrate

FAR = 1_500_000
"""A position from which on a ledger of an older version is too large to be turned at the start."""


def divide(url: str, size: int, number: int) -> None:
    """Have an empty ledger take so many events in each of so many partitions."""
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE events DETACH PARTITION events_from_1")
        connection.execute(
            f"ALTER TABLE events ATTACH PARTITION events_from_1 FOR VALUES FROM (MINVALUE) TO ({size})".encode()
        )
        connection.execute("DELETE FROM event_partitions")
        connection.execute("INSERT INTO event_partitions VALUES (1, %s, 'events_from_1')", (size,))
        for each in range(1, number):
            connection.execute("SELECT make_events_room(%s, %s)", (size * each, size))


def large_of_before(url: str) -> None:
    """Make an empty database a ledger of the version before partitions, with a few events, the last far up."""
    ours = migrate.load()
    migrate.apply(url, ours[: [migration.name for migration in ours].index("partitions")])
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO events (stream, version, position, kind, payload, recorded_at)"
            " SELECT 'user:of before', number, %s - 3 + number, 'k.v1', '{}', now()"
            "   FROM generate_series(1, 3) AS number",
            (FAR,),
        )
