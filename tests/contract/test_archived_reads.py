"""Answers about archived times on a real server: the same as before, or why there is none."""

import asyncio
import re
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import msgspec
import psycopg
import pytest
from psycopg import Connection

from ledger.domain.explain import explain
from ledger.domain.instants import from_datetime
from ledger.http import audit
from ledger.ingest import archiving
from ledger.replay.of_ledger import PartlyArchived, at_one_moment
from ledger.slices.archived import ArchivedElsewhere, ArchivePlace
from ledger.slices.taking import SliceScope, open_slice
from ledger.store.archive import files, table
from ledger.store.archive.manifest import ArchiveDamaged
from ledger.store.ledger import Ledger
from projections.engine import rebuild
from projections.engine.archived import ArchiveUnknown
from projections.engine.rebuild import Rebuild
from projections.models.rebuild_current import RebuildCurrent
from projections.models.registry import AFTER_FILLING, FOLLOWING
from projections.models.shown import AnswerPoint
from projections.queries import archived, history, past, telling, timeline
from projections.queries.archived import Archive, Asked
from projections.queries.evidence import gather
from projections.queries.evidence_rows import RecordedHistory
from projections.queries.timeline import TimelineEntries, TimelineQuery
from tests.support import pg
from tests.support.archived import ONCE, USERS, archive, follow, rows
from tests.support.ledgers import configure
from tests.support.slices import MAPPER

pytestmark = pytest.mark.usefixtures("lived")

UIDS = [*USERS, ONCE, "nobody"]
TABLES = "current, snapshots, drifts"


def points(ledger: Ledger) -> list[AnswerPoint]:
    """Instants of all times, as was known then and later; what is said of the head is another matter."""
    at = [from_datetime(row.recorded_at) for row in rows(ledger)]
    last = len(at) - 1
    places = (2, 49, 50, 77, 149, last)
    return [AnswerPoint(at[place - 1], known) for place in places for known in (place, last)]


def past_of(asking: Archive, uids: list[str], made: AnswerPoint) -> Any:
    return asking.ask(
        TABLES,
        lambda connection, before: archived.as_of(connection, before, uids, made),
        lambda connection: past.read(connection, MAPPER, uids, made),
    )


def explained(asking: Archive, uid: str, asked: AnswerPoint) -> str:
    """An explanation; whatever the head is, it is called so."""

    def made(connection: Any) -> AnswerPoint:
        return AnswerPoint(asked.at, min(asked.position, history.position_at(connection, asked.at)))

    def question(connection: Any) -> str:
        found = explain(gather(RecordedHistory(connection, MAPPER), uid, *made(connection)))
        return re.sub(rf"\b{history.head(connection).position}\b", "HEAD", repr(found))

    return asking.ask(
        TABLES, lambda connection, before: archived.to_explain(connection, before, uid, made(connection)), question
    ).answer


@pg.on_every_server
@pytest.mark.parametrize("file_events", [20, archiving.MAX_FILE_EVENTS])
def test_the_past_is_what_it_was(
    ledger: Ledger,
    database_url: str,
    folder: Path,
    asking: Archive,
    monkeypatch: pytest.MonkeyPatch,
    file_events: int,
) -> None:
    monkeypatch.setattr(archiving, "MAX_FILE_EVENTS", file_events)
    asked = points(ledger)
    before = [past_of(asking, UIDS, made) for made in asked]
    assert {each.before for each in before} == {None}
    archive(ledger, database_url, folder)
    after = [past_of(asking, UIDS, made) for made in asked]
    assert [each.answer for each in after] == [each.answer for each in before]
    reads = [each.before for each in after]
    assert (reads[:8], reads[-2:]) == ([150] * 8, [None] * 2)


def test_explanations_are_what_they_were(ledger: Ledger, database_url: str, folder: Path, asking: Archive) -> None:
    asked = list(product(("ann", ONCE, "nobody"), points(ledger)[2:9:3]))
    # So that the head is cited for nothing but being it.
    configure(ledger, "another")
    before = [explained(asking, *each) for each in asked]
    archive(ledger, database_url, folder)
    assert [explained(asking, *each) for each in asked] == before


def test_an_explanation_reads_no_file_for_what_is_in_the_table(
    ledger: Ledger, database_url: str, folder: Path, connection: Connection[Any]
) -> None:
    for number in range(60):
        configure(ledger, f"i{number}")
    follow(database_url)
    archive(ledger, database_url, folder)
    before = table.before(connection)
    assert before == 200
    wanted = archived.to_explain(connection, before, "ann", AnswerPoint(1, 60))
    assert wanted is not None
    assert len(wanted.last_up_to) < 5


@pytest.mark.parametrize("descending", [False, True])
def test_lines_of_a_user_read_no_file_twice_that_is_done_with(
    ledger: Ledger, database_url: str, folder: Path, asking: Archive, monkeypatch: pytest.MonkeyPatch, descending: bool
) -> None:
    monkeypatch.setattr(audit, "STREAMED_PAGE", 5)
    matching = Mock(wraps=files.matching)
    monkeypatch.setattr(files, "matching", matching)
    services: Any = SimpleNamespace(archive=asking, ledger=ledger)
    lines = audit._UserRows(services, "ann", descending, None, None).lines
    before = list(lines(None))
    archive(ledger, database_url, folder)
    found: list[bytes] = []
    pages: list[list[int]] = []
    for page in lines(None):
        found.append(page)
        pages.append([call.args[1].first for call in matching.call_args_list])
        matching.reset_mock()
    assert found == before
    assert [page for page in pages if page][-1] == ([1] if descending else [100])


def test_the_ledger_is_read_through(ledger: Ledger, database_url: str, folder: Path, asking: Archive) -> None:
    whole = rows(ledger)
    archive(ledger, database_url, folder, partitions=2)
    everything = asking.rows_after(0, 10_000)
    assert (everything.answer[: len(whole)], everything.before) == (whole, 100)
    assert {row.kind for row in everything.answer[len(whole) :]} == {"events_archived.v1"}
    for after, limit in ((0, 7), (45, 10), (95, 10), (98, 1), (99, 5)):
        assert asking.rows_after(after, limit).answer == whole[after : after + limit]
    assert asking.rows_after(99, 5).before is None
    with ledger.connection() as connection:
        for row in whole:
            assert history.recorded_at(connection, row.position) == from_datetime(row.recorded_at)
            at = from_datetime(row.recorded_at)
            assert history.position_at(connection, at) == max(
                e.position for e in whole if e.recorded_at == row.recorded_at
            )
            later = [e for e in whole if e.recorded_at > row.recorded_at]
            if later:
                assert history.recorded_after(connection, at) == from_datetime(later[0].recorded_at)


@pytest.mark.parametrize("users", [None, ("ann", ONCE), ("nobody",)])
def test_slices_are_what_they_were(
    ledger: Ledger, database_url: str, folder: Path, users: tuple[str, ...] | None
) -> None:
    at = [row.recorded_at for row in rows(ledger)]
    spans = [(None, None), (None, at[60]), (at[30], at[70]), (at[120], None), (at[-1], None)]
    place = ArchivePlace(database_url, folder)

    def taken(place: ArchivePlace | None) -> list[Any]:
        found = []
        for since, until in spans:
            scope = SliceScope(users, since, until)
            with (
                ledger.connection() as connection,
                open_slice(connection, MAPPER, scope, lambda *_: None, place) as cut,
            ):
                header = msgspec.structs.replace(cut.header, head=cut.header.began)
                found.append((header, [msgspec.json.encode(line) for line in cut.lines]))
        return found

    before = taken(None)
    archive(ledger, database_url, folder)
    assert taken(place) == before
    if users is None:
        with pytest.raises(ArchivedElsewhere, match="before position 150"):
            taken(None)


def test_whoever_judges_all_of_it_again_takes_a_slice(ledger: Ledger, database_url: str, folder: Path) -> None:
    """Several processes would each see what is beside the table of one session, and nothing of the rest."""
    with ledger.connection() as connection, at_one_moment(connection, MAPPER, SliceScope()) as moment:
        assert moment.positions == len(rows(ledger))
    archive(ledger, database_url, folder)
    with (
        ledger.connection() as connection,
        pytest.raises(PartlyArchived, match="by one process, as a slice"),
        at_one_moment(connection, MAPPER, SliceScope()),
    ):
        pass


def test_what_is_missing_is_said(ledger: Ledger, database_url: str, folder: Path, asking: Archive) -> None:
    made, late = points(ledger)[2], points(ledger)[-2]
    done = archive(ledger, database_url, folder)
    (folder / done[0].files[0].name).unlink()
    with pytest.raises(ArchiveDamaged, match="of positions 1 to 49, is missing"):
        past_of(asking, UIDS, made)
    with pytest.raises(ArchiveDamaged, match="1 to 49"):
        asking.rows_after(10, 1)
    assert past_of(asking, UIDS, late).before is None
    assert len(asking.rows_after(60, 10).answer) == 10


def contents(connection: Connection[Any], table: str) -> list[Any]:
    return sorted(connection.execute(f"SELECT {table}::text FROM {table}".encode()).fetchall())


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_rebuild_reads_the_archive(
    ledger: Ledger, database_url: str, folder: Path, connection: Connection[Any], name: str
) -> None:
    archive(ledger, database_url, folder)
    projection = FOLLOWING[name]
    before = {table: contents(connection, table) for table in projection.tables}
    with rebuild.alone(database_url, name) as rebuilding:
        Rebuild(rebuilding, database_url, projection, archive=folder, also=AFTER_FILLING.get(name)).run(lambda *_: None)
    assert {table: contents(connection, table) for table in projection.tables} == before
    assert connection.execute("SELECT to_regnamespace('rebuild')").fetchone() == (None,)


@pg.on_every_server
def test_a_rebuild_of_current_reads_the_archive(ledger: Ledger, database_url: str, folder: Path) -> None:
    archive(ledger, database_url, folder)
    with rebuild.alone(database_url, "current") as rebuilding:
        assert RebuildCurrent(rebuilding, database_url, folder).run(lambda *_: None).different == 0
    (min(folder.iterdir())).unlink()
    with (
        rebuild.alone(database_url, "current") as rebuilding,
        pytest.raises(ArchiveDamaged, match="1 to 49, is missing"),
    ):
        RebuildCurrent(rebuilding, database_url, folder).run(lambda *_: None)
    with (
        rebuild.alone(database_url, "sessions") as rebuilding,
        pytest.raises(ArchiveUnknown, match="before position 150 are archived"),
    ):
        Rebuild(rebuilding, database_url, FOLLOWING["sessions"]).run(lambda *_: None)


def story(asking: Archive, url: str, uid: str, wanted: TimelineQuery) -> Asked[tuple[Any, ...]]:
    """A page of the timeline but for how far it has come, as the route makes it."""

    async def alone() -> TimelineEntries:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            return await timeline.page(connection, uid, wanted)

    try:
        page, before = asyncio.run(alone()), None
    except timeline.ArchiveNeeded:
        page, before = asking.ask(
            timeline.TABLES,
            lambda connection, _: archived.of_user(connection, uid),
            lambda connection: timeline.whole_page(connection, uid, wanted),
        )
    return Asked((page.items, page.number, page.last, page.more), before)


def test_timelines_are_what_they_were(
    ledger: Ledger, database_url: str, folder: Path, asking: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "STRETCH_VERSIONS", 4)
    monkeypatch.setattr(timeline, "STRETCH_VERSIONS", 4)
    monkeypatch.setattr(timeline, "MAX_READ_EVENTS", 6)
    at = {row.position: row.recorded_at for row in rows(ledger)}
    asked = [
        *(("ann", TimelineQuery(after, 2, down)) for after in (None, 49, 98, 99, 130) for down in (False, True)),
        *(("ann", TimelineQuery(None, 3, down, at[since])) for since in (40, 101, 125) for down in (False, True)),
        *(("ann", TimelineQuery(None, 3, down, None, at[until])) for until in (40, 125) for down in (False, True)),
        *((uid, TimelineQuery(None, 100)) for uid in ("bob", ONCE, "nobody")),
    ]
    before = [story(asking, database_url, *each) for each in asked]
    assert {each.before for each in before} == {None}
    archive(ledger, database_url, folder, partitions=2)
    after = [story(asking, database_url, *each) for each in asked]
    for wanted, one, other in zip(asked, before, after, strict=True):
        assert other.answer == one.answer, wanted
    reads = [each.before for each in after]
    assert {*reads} == {None, 100}
    assert 5 < reads.count(None) < len(asked) - 5
