"""Sessions that leave their table with the archived events that ended them, on a real server."""

import asyncio
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.ingest import unarchiving
from ledger.store.archive import table
from ledger.store.archive.manifest import ArchiveDamaged
from ledger.store.ledger import Ledger
from projections.engine import rebuild
from projections.engine.rebuild import Rebuild
from projections.models import session_trimming
from projections.models.registry import AFTER_FILLING, FOLLOWING
from projections.models.session_bounds import SessionRow
from projections.models.session_pages import Place, SessionQuery
from projections.queries import archived, user_sessions
from projections.queries.archived import Archive, Asked
from projections.queries.user_sessions import SessionRowPage
from tests.support import pg
from tests.support.archived import ONCE, archive

pytestmark = pytest.mark.usefixtures("lived")

LEFT = "SELECT count(*) FROM sessions WHERE ended_position < %s"
MARK = "SELECT before, done FROM sessions_trimmed"


def page(asking: Archive, url: str, uid: str, wanted: SessionQuery) -> Asked[SessionRowPage]:
    """As the route makes it."""

    async def alone() -> SessionRowPage:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            return await user_sessions.page(connection, uid, wanted)

    try:
        return Asked(asyncio.run(alone()), None)
    except user_sessions.EventsNeeded:
        return asking.ask(
            user_sessions.TABLES,
            lambda connection, _: archived.of_user(connection, uid),
            lambda connection: user_sessions.whole_page(connection, uid, wanted),
        )


def walk(asking: Archive, url: str, uid: str, limit: int, **narrowed: Any) -> Iterator[tuple[list[SessionRow], bool]]:
    """Page by page, and whether files were read for it."""
    after: Place | None = None
    for _ in count():
        found = page(asking, url, uid, SessionQuery(after, limit, **narrowed))
        rows = list(found.answer.rows)
        yield rows, found.before is not None
        if len(rows) < limit:
            return
        after = (rows[-1].position, rows[-1].ordinal)


WALKS: list[tuple[str, int, dict[str, Any]]] = [
    ("ann", 3, {}),
    ("ann", 3, {"descending": True}),
    ("ann", 2, {"open": False, "source": "main"}),
    ("ann", 100, {"open": True}),
    ("ann", 3, {"since": 60}),
    ("用户", 100, {"descending": True}),
    (ONCE, 100, {}),
    ("nobody", 100, {}),
]


def walked(asking: Archive, url: str) -> list[list[list[SessionRow]]]:
    return [[rows for rows, _ in walk(asking, url, uid, limit, **how)] for uid, limit, how in WALKS]


@pg.on_every_server
def test_pages_are_what_they_were(
    ledger: Ledger, database_url: str, folder: Path, asking: Archive, connection: Connection[TupleRow],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(user_sessions, "READ_EVENTS", 4)
    before = walked(asking, database_url)
    ended = connection.execute(LEFT, (100,)).fetchone()
    assert ended is not None
    assert ended[0] > 5
    archive(ledger, database_url, folder, partitions=2)
    assert connection.execute(LEFT, (100,)).fetchone() == (0,)
    assert connection.execute(MARK).fetchall() == [(100, 100)]
    assert walked(asking, database_url) == before
    read = {
        (descending, is_open): [
            by for _, by in walk(asking, database_url, "ann", 2, descending=descending, open=is_open)
        ]
        for descending in (False, True)
        for is_open in (None, True)
    }
    assert (read[False, None][0], read[False, None][-1]) == (True, False)
    assert (read[True, None][0], read[True, None][-1]) == (False, True)
    assert {*read[False, True], *read[True, True]} == {False}
    assert list(walk(asking, database_url, "nobody", 2)) == [([], False)]

    # Put back, the events tell it; a rebuild puts the sessions back, too.
    assert len(list(unarchiving.restore(ledger, database_url, folder, lambda *_: None))) == 2
    assert walked(asking, database_url) == before
    assert {by for _, by in walk(asking, database_url, "ann", 2)} == {False}
    rebuilt(database_url, folder)
    assert connection.execute(MARK).fetchall() == []
    assert walked(asking, database_url) == before


def rebuilt(url: str, folder: Path) -> None:
    with rebuild.alone(url, "sessions") as rebuilding:
        Rebuild(rebuilding, url, FOLLOWING["sessions"], archive=folder, also=AFTER_FILLING.get("sessions")).run(
            lambda *_: None
        )


def test_a_killed_removal_lacks_no_row_and_goes_on(
    ledger: Ledger, database_url: str, folder: Path, asking: Archive, connection: Connection[TupleRow],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    before = walked(asking, database_url)

    with monkeypatch.context() as patched:
        patched.setattr(session_trimming, "trim", lambda _: 0)
        archive(ledger, database_url, folder, partitions=1)
    assert connection.execute(LEFT, (50,)).fetchone() != (0,)
    # What is there after some of it.
    connection.execute("INSERT INTO sessions_trimmed (before, done) VALUES (50, 0)")
    connection.execute(
        "DELETE FROM sessions WHERE ctid IN (SELECT ctid FROM sessions WHERE ended_position < 50 LIMIT 2)"
    )
    assert walked(asking, database_url) == before
    archive(ledger, database_url, folder, partitions=1)
    assert connection.execute(LEFT, (100,)).fetchone() == (0,)
    assert connection.execute(MARK).fetchall() == [(100, 100)]
    assert walked(asking, database_url) == before


def test_it_goes_through_the_table_in_stretches(
    ledger: Ledger, database_url: str, folder: Path, connection: Connection[TupleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(session_trimming, "trim", lambda _: 0)
        archive(ledger, database_url, folder)
    # Rows of others in many blocks, some of which ended early.
    connection.execute(
        "INSERT INTO sessions SELECT 'many' || n, n, 0, 'main', '', 0, n, 'n1', NULL, n, NULL, 'online_new', n,"
        " n, NULL, 'offline_of_open', n % 300, 1, 0 FROM generate_series(1, 3000) AS n"
    )
    early = connection.execute(LEFT, (150,)).fetchone()
    kept = connection.execute("SELECT count(*) FROM sessions WHERE ended_position IS NULL OR ended_position >= 150")
    stayed = kept.fetchone()
    assert early is not None
    assert session_trimming.trim(connection, blocks_at_once=3) == early[0]
    assert connection.execute("SELECT count(*) FROM sessions").fetchone() == stayed
    assert session_trimming.trim(connection) == 0


def test_a_missing_file_is_named_and_only_where_it_is_needed(
    ledger: Ledger, database_url: str, folder: Path, asking: Archive
) -> None:
    done = archive(ledger, database_url, folder)
    (folder / done[0].files[0].name).unlink()
    with pytest.raises(ArchiveDamaged, match="of positions 1 to 49, is missing"):
        page(asking, database_url, "ann", SessionQuery(None, 10))
    newest = page(asking, database_url, "ann", SessionQuery(None, 1, descending=True, open=True))
    assert newest.before is None


def test_a_rebuild_leaves_them_out_as_well(
    ledger: Ledger, database_url: str, folder: Path, asking: Archive, connection: Connection[TupleRow]
) -> None:
    before = walked(asking, database_url)
    archive(ledger, database_url, folder)
    live_rows = connection.execute("SELECT * FROM sessions AS s ORDER BY s").fetchall()
    rebuilt(database_url, folder)
    assert connection.execute("SELECT * FROM sessions AS s ORDER BY s").fetchall() == live_rows
    assert connection.execute(MARK).fetchall() == [(150, 150)]
    assert table.before(connection) == 150
    assert walked(asking, database_url) == before
