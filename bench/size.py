"""How many bytes does an item take in the database, by table and index, and how many of WAL does it leave?"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import psutil
import psycopg

from bench import _client, _service
from bench._crowd import Crowd
from bench._postgres import Server, process_cpu_seconds, server
from bench._report import Bar, Options, Report, main, number, progress
from bench.aggregation import wait_until_followed

BODY_ITEMS = 50
MAX_BYTES, MAX_WAL_BYTES = 600, 2_000
SMALL_SHARE = 0.005
"""A table that takes less than this share of all is told of together with the others like it."""

# A partition is a part of what it is a partition of.
_TABLES = """
SELECT coalesce(p.relname, c.relname)::text, sum(pg_table_size(c.oid))::bigint, sum(pg_indexes_size(c.oid))::bigint
  FROM pg_class AS c LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid LEFT JOIN pg_class AS p ON p.oid = i.inhparent
 WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
 GROUP BY 1
"""
_WHOLE = """
SELECT pg_database_size(current_database()), pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint,
       (SELECT count(*) FROM ledger_events WHERE raw IS NOT NULL)
"""


class Sizes(NamedTuple):
    """What a database holds."""

    database: int
    wal: int
    """Bytes written so far."""
    items: int
    tables: dict[str, tuple[int, int]]
    """Bytes of each table's rows, and of its indexes."""


def measure(options: Options) -> Report:
    """Bodies as fast as they are taken, until everything that follows the ledger has followed."""
    posts, users = options.pick(6_000, 20), options.pick(10_000, 200)
    with server(options) as postgres:
        described = postgres.describe()
        with postgres.database() as url, _service.running(postgres.folder / "service", url) as service:
            wait_until_followed(url, 0)
            before, spent_before = _sizes(postgres, url), _spent(postgres, service)
            _client.run(_client.drive(service.port, _bodies(service, _crowds(users), posts)))
            wait_until_followed(url, 0)
            spent, after = _spent(postgres, service), _sizes(postgres, url)
            memory = _memory(service)
    items = after.items - before.items
    if items != posts * BODY_ITEMS:
        raise RuntimeError(f"{items} items are in the ledger, {posts * BODY_ITEMS} were sent")
    report = Report(
        f"Bytes an item: {items:,} items of {users:,} users (named like u1234) who come and go, in bodies of "
        f"{BODY_ITEMS} as fast as they are taken, everything that follows the ledger included",
        described,
        ("", "rows", "indexes", "together"),
    )
    _tell(report, before, after, items)
    report.bars.append(
        Bar("bytes an item in the database", (after.database - before.database) / items, MAX_BYTES, False)
    )
    report.bars.append(Bar("bytes of WAL an item", (after.wal - before.wal) / items, MAX_WAL_BYTES, False))
    each = {name: number((spent[name] - spent_before[name]) / items * 1e6) for name in spent}
    report.notes.append(
        "processor time an item, in microseconds, until everything had followed: "
        + ", ".join(f"{name} {microseconds}" for name, microseconds in each.items())
    )
    report.notes.append(f"memory at the end: {memory}; PostgreSQL has 256 MiB of buffers as shipped")
    if options.short:
        # Pages and their images weigh more than the few rows on them.
        report.bars.clear()
    return report


def _spent(postgres: Server, service: _service.Service) -> dict[str, float]:
    """Seconds of processor so far, by process."""
    return {
        "service": process_cpu_seconds(service.pid),
        "projector": process_cpu_seconds(_projector(service).pid),
        "PostgreSQL": postgres.cpu_seconds(),
    }


def _memory(service: _service.Service) -> str:
    resident = psutil.Process(service.pid).memory_info().rss, _projector(service).memory_info().rss
    return "service {:.0f} MiB, projector {:.0f} MiB".format(*(each / 2**20 for each in resident))


def _projector(service: _service.Service) -> psutil.Process:
    found = service.child("ledger.service.projector")
    if found is None:
        raise RuntimeError("there is no projector")
    return found


def _tell(report: Report, before: Sizes, after: Sizes, items: int) -> None:
    """A row a table, the largest first, and one for the many small ones."""
    grown = {
        name: tuple(now - then for now, then in zip(sizes, before.tables.get(name, (0, 0)), strict=True))
        for name, sizes in after.tables.items()
    }
    small, whole = [0, 0], sum(map(sum, grown.values()))
    for name, sizes in sorted(grown.items(), key=lambda each: sum(each[1]), reverse=True):
        if sum(sizes) >= SMALL_SHARE * whole:
            report.rows.append(_row(f"`{name}`", sizes, items))
        else:
            small = [one + other for one, other in zip(small, sizes, strict=True)]
    report.rows.append(_row("all others", small, items))


def _row(name: str, sizes: Sequence[int], items: int) -> Sequence[str]:
    return (name, *(number(size / items) for size in (*sizes, sum(sizes))))


def _crowds(users: int) -> list[Crowd]:
    crowds = [Crowd(node, users // _service.NODES) for node in range(_service.NODES)]
    for node, crowd in enumerate(crowds):
        crowd.uids = [f"u{each * _service.NODES + node}" for each in range(len(crowd.uids))]
    return crowds


def _bodies(service: _service.Service, crowds: Sequence[Crowd], posts: int) -> list[Iterator[bytes]]:
    """So many POSTs in all, whichever node comes to make them."""
    waiting = iter(range(posts))

    def of_node(number: int) -> Iterator[bytes]:
        for place in waiting:
            if place % 1_000 == 0:
                progress(f"{place:,} bodies of {posts:,}")
            yield service.webhook(crowds[number].body(BODY_ITEMS), number)

    return [of_node(number) for number in range(len(crowds))]


def _sizes(postgres: Server, url: str) -> Sizes:
    # The first change of a page after a checkpoint writes the page whole.
    postgres.settle()
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(_WHOLE).fetchone()
        assert row is not None
        tables = {name: (rows, indexes) for name, rows, indexes in connection.execute(_TABLES)}
        database, wal, items = row
        return Sizes(database, wal, items, tables)


if __name__ == "__main__":
    main("size", "sizing.md", measure)
