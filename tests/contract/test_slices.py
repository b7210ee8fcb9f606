"""Slices through a real ledger: taken, imported into an empty one and into others, once and twice."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from ledger.domain.instants import from_datetime
from ledger.domain.observation import SECOND, Instant
from ledger.domain.recent import NO_BODIES
from ledger.domain.reconciliation_events import PollObserved, Swept
from ledger.errors import LedgerError, StoreUnavailable
from ledger.ingest import erasing
from ledger.ingest.erasing import Order
from ledger.slices import importing
from ledger.slices.form import LARGEST, Slice
from ledger.slices.importing import Imported
from ledger.slices.reading import SliceFile
from ledger.slices.taking import SliceScope, open_slice
from ledger.store.ledger import Ledger
from ledger.store.seal import seal_keys
from ledger.store.verify import snapshot, verify
from ledger.working_state import sources
from projections.models import current
from projections.queries import history
from tests.support import pg
from tests.support.imported import brought, everything
from tests.support.ledgers import SEAL_KEY, SOURCE, configure, opened
from tests.support.slices import LONG_AGO, MAPPER, eventful, replayed, slice_of, written

TO_COME: Instant = 4_000_000_000 * SECOND
ONE_MINUTE = timedelta(minutes=1)


def take(ledger: Ledger, wanted: SliceScope = SliceScope()) -> Slice:  # noqa: B008  (a value that nobody changes)
    """The slice of a ledger, all of it in memory."""
    with ledger.connection() as connection, open_slice(connection, MAPPER, wanted, lambda *_: None) as found:
        return Slice(found.header, list(found.lines))


def states(ledger: Ledger) -> dict[str, object]:
    """Everybody's presence and every source's state, as they are read."""
    with ledger.connection() as connection:
        uids = [uid for (uid,) in connection.execute("SELECT uid FROM current").fetchall()]
        source = sources.load(connection, ledger, SOURCE)
        return {**current.load(connection, uids), SOURCE: (replace(source, recent=NO_BODIES), list(source.recent))}


def assert_sealed(ledger: Ledger) -> None:
    with ledger.connection() as connection, snapshot(connection):
        assert verify(connection, seal_keys([SEAL_KEY.text]), lambda *_: None).altered is None


def test_a_slice_comes_back_as_it_went(ledger: Ledger, whole: Path, tmp_path: Path) -> None:
    assert brought(ledger, whole) == Imported(
        len(eventful().kept), 0, 1, renumbered=False, already=False, recorded_anew=False
    )
    again = SliceFile(written(take(ledger), tmp_path / "again")).slice()
    assert list(again.lines) == list(SliceFile(whole).slice().lines)
    assert_sealed(ledger)


def test_states_are_those_of_the_ledger_it_came_from(ledger: Ledger, whole: Path, later: Path, server: str) -> None:
    brought(ledger, whole)
    with pg.new_database(server) as url, opened(url) as other:
        assert brought(other, later).states == 5
        assert states(other) == states(ledger)
        assert_sealed(other)
        with other.connection() as connection:
            assert history.presences_at(connection, MAPPER, ["alice", "carol"], len(eventful().kept)) == {
                uid: presence for uid, presence in states(ledger).items() if uid in ("alice", "carol")
            }


@pytest.mark.parametrize("place", [0, 20])
def test_after_an_erasure_a_slice_has_nothing_of_the_user(
    place: int, ledger: Ledger, whole: Path, tmp_path: Path, server: str
) -> None:
    brought(ledger, whole)
    since = everything(ledger)[place][5] if place else None
    erasing.erase(ledger, "alice", Order("asked", "ops"), [SEAL_KEY], LONG_AGO)
    file = written(take(ledger, SliceScope(since=since)), tmp_path / "slice.ndjson")
    assert b"alice" not in file.read_bytes()
    assert not replayed(SliceFile(file).slice()).differing
    with pg.new_database(server) as url, opened(url) as other:
        brought(other, file)
        assert states(other) == states(ledger)
        assert_sealed(other)
    assert_sealed(ledger)


def test_a_slice_taken_from_the_middle_is_the_rest_with_the_states_before(ledger: Ledger, whole: Path) -> None:
    brought(ledger, whole)
    rows = everything(ledger)
    middle = rows[20][5]
    found = take(ledger, SliceScope(since=middle))
    expected = slice_of(eventful().kept, 20)
    assert list(found.lines) == list(expected.lines)
    assert found.header.began == expected.header.began
    assert not replayed(found).differing


def test_bounds_are_from_included_and_to_not(ledger: Ledger, whole: Path) -> None:
    brought(ledger, whole)
    rows = everything(ledger)
    since, until = rows[4][5], rows[16][5]
    lines = [
        line for line in take(ledger, SliceScope(None, since, until)).lines if line.event_kind[-11:] != "imported.v1"
    ]
    assert [line.position for line in lines] == [row[0] for row in rows if since <= row[5] < until]


def test_of_chosen_users_it_has_theirs_and_what_concerns_everybody(
    ledger: Ledger, whole: Path, tmp_path: Path, server: str
) -> None:
    brought(ledger, whole)
    found = take(ledger, SliceScope(("bob",)))
    kinds = [line.event_kind for line in found.lines]
    assert {line.stream for line in found.lines} == {"user:bob", "source:main"}
    assert kinds.count("poll_observed.v1") == 2
    assert "item_rejected.v1" not in kinds
    result = replayed(found)
    assert (result.differing, result.not_repeatable.total()) == (0, 0)
    with pg.new_database(server) as url, opened(url) as other:
        brought(other, written(found, tmp_path / "bob"))
        assert states(other)["bob"] == states(ledger)["bob"]
        versions = [row[2] for row in everything(other) if row[1] == "source:main"]
        assert versions == list(range(1, len(versions) + 1))


def test_an_import_can_be_exported_and_imported_again(ledger: Ledger, later: Path, tmp_path: Path, server: str) -> None:
    brought(ledger, later)
    again = written(take(ledger), tmp_path / "again")
    for is_empty in (True, False):
        with pg.new_database(server) as url, opened(url) as other:
            if not is_empty:
                configure(other, sources=("other",))
            assert brought(other, again).renumbered == (not is_empty)
            streams = {row[1] for row in everything(ledger)}
            versions = [[row[1:3] for row in everything(each) if row[1] in streams] for each in (ledger, other)]
            assert versions[0] == versions[1]
            assert not replayed(take(other)).differing
            if is_empty:
                assert states(other) == states(ledger)


def test_importing_again_changes_nothing(ledger: Ledger, whole: Path) -> None:
    brought(ledger, whole)
    before = everything(ledger)
    assert brought(ledger, whole).already
    assert everything(ledger) == before


def has_something_recorded_anew(ledger: Ledger, _: Path) -> None:
    configure(ledger, sources=("other",))


def has_something_of_long_ago(ledger: Ledger, folder: Path) -> None:
    world = eventful(LONG_AGO - 3600 * SECOND, ("a", "b", "c", "d"))
    brought(ledger, written(slice_of(world.kept), folder / "older"), main="older")


@pytest.mark.parametrize(
    ("what_is_there", "at", "recorded_anew"),
    [
        pytest.param(has_something_recorded_anew, LONG_AGO, True, id="older than what is there"),
        pytest.param(has_something_of_long_ago, LONG_AGO, False, id="newer than what is there"),
        pytest.param(has_something_of_long_ago, TO_COME, True, id="still to come"),
    ],
)
def test_into_another_ledger_it_comes_above_the_head_with_what_refers_to_it(
    ledger: Ledger,
    tmp_path: Path,
    what_is_there: Callable[[Ledger, Path], None],
    at: Instant,
    recorded_anew: bool,
) -> None:
    later = written(slice_of(eventful(at).kept, 20), tmp_path / "later")
    what_is_there(ledger, tmp_path)
    head = everything(ledger)[-1][0]
    assert brought(ledger, later, main="copy") == Imported(
        len(eventful().kept) - 20, 5, head + 1, renumbered=True, already=False, recorded_anew=recorded_anew
    )
    rows = everything(ledger)
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    instants = [row[5] for row in rows]
    assert instants == sorted(instants)
    assert recorded_anew == (len(set(instants[head:])) == 1)
    assert recorded_anew == (from_datetime(instants[-1]) > LONG_AGO + 3600 * SECOND)
    assert instants[-1] < datetime.now(UTC) + ONE_MINUTE
    by_position = {row[0]: row for row in rows}
    for _, stream, _, kind, payload, _ in rows[head:]:
        event = MAPPER.event(kind, payload)
        if isinstance(event, Swept):
            assert event.source == "copy"
            assert by_position[event.evidence][3] == "node_booted.v1"
        elif isinstance(event, PollObserved):
            assert head < event.head < len(rows)
        assert stream != "source:main"
    assert not replayed(take(ledger)).differing
    assert_sealed(ledger)
    assert brought(ledger, later, main="copy").already
    assert everything(ledger) == rows


def test_no_event_is_recorded_before_its_time(ledger: Ledger, tmp_path: Path) -> None:
    """A clock that was ahead where the slice was taken stops none here: what follows is recorded when it comes."""
    ahead = written(slice_of(eventful(TO_COME).kept, 20), tmp_path / "ahead")
    found = brought(ledger, ahead)
    assert (found.recorded_anew, found.renumbered) == (True, False)
    assert [row[0] for row in everything(ledger)] == [line.position for line in SliceFile(ahead).slice().lines]
    assert not replayed(take(ledger)).differing
    assert brought(ledger, ahead).already
    configure(ledger, sources=("other",))
    imported, *_, last = [row[5] for row in everything(ledger)]
    assert imported < last < datetime.now(UTC) + ONE_MINUTE
    assert_sealed(ledger)


def test_above_the_largest_position_of_a_slice_the_ledger_counts_on(ledger: Ledger, tmp_path: Path) -> None:
    made = slice_of(eventful().kept)
    lines = list(made.lines)
    lines[-1] = msgspec.structs.replace(lines[-1], position=LARGEST)
    brought(ledger, written(Slice(made.header, lines), tmp_path / "large"))
    configure(ledger, sources=("other",))
    assert [row[0] for row in everything(ledger)][-3:] == [LARGEST, LARGEST + 1, LARGEST + 2]
    assert_sealed(ledger)


def test_while_somebody_else_writes_for_long_nothing_is_imported(
    ledger: Ledger, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "LONG_LOCK_TIMEOUT_SECONDS", 0.1)
    with ledger.events_recorder.commit(), pytest.raises(StoreUnavailable, match="nothing was stored, try again"):
        brought(ledger, whole)
    assert everything(ledger) == []
    assert not brought(ledger, whole).already


def test_under_another_name_a_source_keeps_its_positions_in_an_empty_ledger(ledger: Ledger, later: Path) -> None:
    assert not brought(ledger, later, main="copy").renumbered
    found = take(ledger)
    assert [line.position for line in found.lines] == [line.position for line in SliceFile(later).slice().lines]
    assert {line.stream for line in found.lines if line.stream.startswith("source:")} == {"source:copy"}
    assert not replayed(found).differing
    with ledger.connection() as connection:
        assert {d.source for p in current.load(connection, ["alice", "bob"]).values() for d in p.devices} == {"copy"}


def test_sources_do_not_become_one(ledger: Ledger, tmp_path: Path, server: str) -> None:
    configure(ledger, sources=("a", "b"))
    both = written(take(ledger), tmp_path / "both")
    with pg.new_database(server) as url, opened(url) as other:
        for renames in ({"a": "x", "b": "x"}, {"a": "b"}):
            with pytest.raises(LedgerError, match=r"'a' and 'b' of the slice would both be .*\n.*--source a=NEW"):
                brought(other, both, **renames)
            assert everything(other) == []
        brought(other, both, a="b", b="a")
        assert {row[1] for row in everything(other)} == {"source:a", "source:b"}


def test_who_was_imported_is_to_be_looked_at_in_turn_and_nobody_else(
    ledger: Ledger, whole: Path, tmp_path: Path
) -> None:
    brought(ledger, whole)
    with ledger.connection() as connection, connection.transaction():
        connection.execute("DELETE FROM looks")
    brought(ledger, written(slice_of(eventful(uids=("a", "b", "c", "d")).kept), tmp_path / "others"), main="copy")
    with ledger.connection() as connection:
        found = connection.execute("SELECT uid, source, due_at, urgent FROM looks ORDER BY uid").fetchall()
    assert found == [(uid, "copy", 0, None) for uid in ("a", "b", "c", "d")]


def test_an_empty_slice_changes_nothing(ledger: Ledger, tmp_path: Path) -> None:
    assert brought(ledger, written(slice_of([]), tmp_path / "nothing")).already
    assert everything(ledger) == []
