"""The ledger's events stream by stream, in partitions that several processes can take: what a rebuild reads first.

Whatever is known of a stream is then at hand from its first event to its last, and is written once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection, ServerCursor
from psycopg.rows import TupleRow

from projections.engine import switch
from projections.engine.shares import number_of_processes

MAX_SORTED_EVENTS = 10_000_000
"""So many are sorted at once by each process, by PostgreSQL and on its disk, if need be: some 4 GB."""

STREAM_BY_STREAM: LiteralString = """
(hashtext(stream) & 2147483647) %% %s = %s AND position <= %s ORDER BY hashtext(stream), stream, version
"""
"""The end of a query of a partition. By a hash, since numbers are sorted sooner than names."""

# To go through an index would be to fetch each row from another place.
_PLAN = ("enable_indexscan", "enable_bitmapscan", "jit")


class StreamShare(NamedTuple):
    """Some of the streams, up to a position: those whose hash leaves this remainder when divided by `modulus`."""

    remainder: int
    modulus: int
    up_to: int


def partitions(up_to: int) -> list[list[StreamShare]]:
    """For each process into which it pays to divide so many events, the partitions that it takes one after another."""
    processes = number_of_processes(up_to)
    modulus = processes * max(1, -(-up_to // (MAX_SORTED_EVENTS * processes)))
    return [
        [StreamShare(n, modulus, up_to) for n in range(process, modulus, processes)] for process in range(processes)
    ]


@contextmanager
def opened(
    connection: Connection[TupleRow], query: LiteralString, params: Sequence[Any], partition: StreamShare
) -> Iterator[ServerCursor[TupleRow]]:
    """A cursor on a partition, within a transaction; `query` ends with the phrase above, `params` are those before it.

    Where an error ends it, the connection is closed.
    """
    with connection.cursor("events", binary=True) as events:
        try:
            for setting in _PLAN:
                connection.execute(f"SET LOCAL {setting} = off".encode())
            connection.execute("SET LOCAL work_mem = '64MB'")
            # Where events are archived, the rebuild has a view of that name.
            with switch.named_first(connection.cursor()):
                events.execute(query, (*params, partition.modulus, partition.remainder, partition.up_to))
            # It is planned; what is asked meanwhile has its indexes.
            for setting in _PLAN:
                connection.execute(f"SET LOCAL {setting} TO DEFAULT".encode())
            yield events
        except BaseException:  # the server may have ended it: to close the cursor there would fail, and leave it open
            connection.close()
            raise
