"""Checks that every way of tampering with a ledger is found and its first position named, on real servers."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from ledger.store import verify as verification
from ledger.store.rows import Rows
from ledger.store.seal import RUN_EVENTS, SealKey, seal_keys
from ledger.store.verified import KeyMissing
from tests.support import pg
from tests.support.ledgers import SEAL_KEY, opened
from tests.support.tampering import fill, found, unguarded, verified

EVENTS = "events (stream, version, position, kind, payload, recorded_at)"

TAMPERINGS = [
    ("one bit", "UPDATE events SET payload = set_bit(payload, 3, 1 - get_bit(payload, 3)) WHERE position = 5", 5),
    ("a kind", "UPDATE events SET kind = 'tier_set.v1' WHERE position = 8", 8),
    ("a version", "UPDATE events SET version = 99 WHERE position = 1", 1),
    ("a stream", "UPDATE events SET stream = 'user:else' WHERE position = 9", 9),
    ("a stream and its kind, shifted", "UPDATE events SET stream = stream || 'k', kind = substr(kind, 2)", 1),
    ("an instant", "UPDATE events SET recorded_at = recorded_at + interval '1 microsecond' WHERE position = 6", 6),
    ("an endless instant", "UPDATE events SET recorded_at = 'infinity' WHERE position = 6", 6),
    ("a deleted row", "DELETE FROM events WHERE position = 4", 4),
    ("the last row deleted", "DELETE FROM events WHERE position = 9", 9),
    ("a run deleted", "DELETE FROM events WHERE position BETWEEN 4 AND 6", 4),
    (
        "an inserted row at the end",
        f"INSERT INTO {EVENTS} SELECT 'x', 1, 10, kind, payload, now() FROM events LIMIT 1",
        10,
    ),
    ("one far beyond", f"INSERT INTO {EVENTS} SELECT 'x', 1, 77, kind, payload, now() FROM events LIMIT 1", 77),
    ("one before the first", f"INSERT INTO {EVENTS} SELECT 'x', 1, -7, kind, payload, now() FROM events LIMIT 1", -7),
    ("one at zero", f"INSERT INTO {EVENTS} SELECT 'x', 1, 0, kind, payload, now() FROM events LIMIT 1", 0),
    (
        "one at a position that is taken",
        f"INSERT INTO {EVENTS} SELECT 'x', 1, 5, kind, payload, recorded_at FROM events WHERE position = 5",
        5,
    ),
    (
        "one at the last position",
        f"INSERT INTO {EVENTS} SELECT 'x', 1, 9, kind, payload, recorded_at FROM events WHERE position = 9",
        9,
    ),
    ("two swapped", "UPDATE events SET position = 15 - position WHERE position IN (7, 8)", 7),
    ("two of different commits swapped", "UPDATE events SET position = 10 - position WHERE position IN (2, 8)", 2),
    ("all reordered", "UPDATE events SET position = 10 - position", 1),
    ("a row moved to the end", "UPDATE events SET position = 10 WHERE position = 4", 4),
    ("a seal removed", "DELETE FROM seals WHERE first_position = 4", 4),
    ("the first seal removed", "DELETE FROM seals WHERE first_position = 1", 1),
    ("the last seal removed", "DELETE FROM seals WHERE first_position = 7", 7),
    ("every seal removed", "DELETE FROM seals", 1),
    ("a seal's first position", "UPDATE seals SET first_position = 5 WHERE first_position = 4", 4),
    ("a seal's last position", "UPDATE seals SET last_position = 7 WHERE first_position = 4", 4),
    ("a seal's endless instant", "UPDATE seals SET recorded_at = '-infinity' WHERE first_position = 4", 4),
    ("a seal's key", "UPDATE seals SET key_id = '\\x00' WHERE first_position = 4", 4),
    ("a seal's digests", "UPDATE seals SET digests = set_byte(digests, 40, 255 - get_byte(digests, 40))", 1),
    ("a digest less", "UPDATE seals SET digests = substr(digests, 33) WHERE first_position = 7", 7),
    ("a seal itself", "UPDATE seals SET seal = set_bit(seal, 0, 1 - get_bit(seal, 0)) WHERE first_position = 7", 7),
    (
        "an inserted seal",
        "INSERT INTO seals SELECT 10, 12, recorded_at, key_id, digests, seal FROM seals WHERE first_position = 7",
        10,
    ),
]


OTHER_KEY = SealKey("another-key-that-sealed-some-of-the-events")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A ledger of nine events of three commits, which no test changes for good."""
    with pg.new_database(pg.server_url("embedded")) as database_url:
        fill(database_url, range(1, 4))
        yield database_url


@pg.on_every_server
def test_an_untouched_ledger_is_intact(database_url: str) -> None:
    empty = verified(database_url)
    assert (empty.events, empty.seals, empty.head.position, empty.altered) == (0, 0, 0, None)
    fill(database_url, range(1, 4))
    whole = verified(database_url)
    assert (whole.events, whole.seals, whole.head.position, whole.altered) == (9, 3, 9, None)
    fill(database_url, [4])
    assert verified(database_url, expected=whole.head).altered is None
    with unguarded(database_url) as connection:
        connection.execute("UPDATE events SET payload = '{}' WHERE position = 11")
        altered = found(connection, expected=whole.head).altered
    assert altered is not None
    assert altered.position == 11


@pytest.mark.parametrize("windows", ["one", "many"])
@pytest.mark.parametrize(
    ("statement", "position"), [each[1:] for each in TAMPERINGS], ids=[each[0] for each in TAMPERINGS]
)
def test_tampering_is_found_at_its_first_position(
    url: str, statement: str, position: int, windows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if windows == "many":
        monkeypatch.setattr(verification, "WINDOW_SEALS", 1)
    with unguarded(url) as connection:
        connection.execute(statement.encode())
        found_here = found(connection)
    assert found_here.altered is not None
    assert found_here.altered.position == position
    assert found_here.head.position <= max(position, 0)


def test_a_rewritten_chain_needs_the_key(url: str) -> None:
    with unguarded(url) as connection:
        connection.execute("DELETE FROM seals WHERE first_position >= 4")
        connection.execute("DELETE FROM events WHERE position >= 4")
        connection.commit()
        try:
            fill(url, [2, 3], key=OTHER_KEY)
            lacking = found(connection)
            # That is not the same as altered: nothing is known of what the key sealed.
            assert (lacking.altered, lacking.is_intact) == (None, None)
            assert lacking.missing == KeyMissing(OTHER_KEY.id, 4, 9)
            assert lacking.head.position == 3
            assert f"key {OTHER_KEY.id.hex()}, which is not here, sealed positions from 4 to 9" in str(lacking.missing)
            whole = found(connection, seal_keys([OTHER_KEY.text, SEAL_KEY.text]))
            assert (whole.missing, whole.is_intact) == (None, True)
        finally:
            connection.rollback()
            connection.execute("DELETE FROM seals WHERE first_position >= 4")
            connection.execute("DELETE FROM events WHERE position >= 4")
            connection.commit()
            fill(url, [2, 3])


def test_what_was_altered_before_a_missing_key_is_altered(url: str) -> None:
    with unguarded(url) as connection:
        connection.execute("UPDATE events SET payload = '{}' WHERE position = 2")
        connection.execute("UPDATE seals SET key_id = 'elsewhr', seal = '\\x00' WHERE first_position = 4")
        there = found(connection)
        assert there.altered is not None
        assert (there.altered.position, there.missing, there.is_intact) == (2, None, False)


def test_a_cut_tail_and_what_grew_over_it_show_against_a_head(database_url: str) -> None:
    fill(database_url, range(1, 4))
    head = verified(database_url).head
    with unguarded(database_url) as connection:
        connection.execute("DELETE FROM seals WHERE first_position = 7")
        connection.execute("DELETE FROM events WHERE position >= 7")
        connection.commit()
        assert found(connection).altered is None
        altered = found(connection, expected=head).altered
        assert altered is not None
        assert (altered.position, altered.what) == (7, "what the head knows up to position 9 was cut off from here on")
    fill(database_url, [3])
    altered = verified(database_url, expected=head).altered
    assert altered is not None
    assert altered.position == 7
    assert "the seal of position 9 is not the head's" in altered.what


def test_events_that_were_never_sealed_can_be_passed_over_and_not_laundered(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        for position in (1, 2):
            values = (f"s{position}", position)
            connection.execute(f"INSERT INTO {EVENTS} VALUES (%s, 1, %s, 'k.v1', '{{}}', now())".encode(), values)
    fill(database_url, [1, 2])
    altered = verified(database_url).altered
    assert altered is not None
    assert (altered.position, altered.what) == (1, "the event was never sealed")
    after = verified(database_url, after=2)
    assert (after.events, after.seals, after.head.position, after.altered) == (6, 2, 8, None)
    # In the middle of a run: from its beginning.
    middle = verified(database_url, after=7)
    assert (middle.events, middle.seals, middle.head.seals, middle.altered) == (3, 1, 2, None)
    with unguarded(database_url) as connection:
        connection.execute("DELETE FROM seals WHERE first_position = 3")
        cut = found(connection, after=5).altered
    assert cut is not None
    assert cut.position == 6


def test_a_head_that_tampering_left_behind_gives_no_position_twice(database_url: str) -> None:
    fill(database_url, range(1, 4))
    with unguarded(database_url) as connection:
        connection.execute("DELETE FROM events WHERE position >= 5")
        connection.commit()
    fill(database_url, [4])
    altered = verified(database_url).altered
    assert altered is not None
    assert (altered.position, altered.what) == (5, "the event was removed")


def test_a_run_is_sealed_by_itself_where_the_instant_or_the_positions_change(database_url: str) -> None:
    now, rows = datetime.now(UTC), Rows()
    with opened(database_url) as ledger, ledger.events_recorder.commit() as commit:
        for number, (first, at) in enumerate([(5, now), (6, now), (7, now + timedelta(seconds=1)), (20, now)]):
            rows = Rows()
            rows.add("source:main", number + 1, "k.v1", b"{}")
            commit.append_at(rows.pack(), first, at)
        with pytest.raises(ValueError, match="position 20 is not above 20"):
            commit.append_at(rows.pack(), 20, now)
    with psycopg.connect(database_url) as connection:
        runs = connection.execute("SELECT first_position, last_position FROM seals ORDER BY 1").fetchall()
    assert runs == [(5, 6), (7, 7), (20, 20)]
    assert verified(database_url).altered is None


def test_a_large_commit_has_several_seals(database_url: str) -> None:
    rows = Rows()
    for number in range(RUN_EVENTS + 1):
        rows.add(f"user:{number}", 1, "k.v1", b"{}")
    with opened(database_url) as ledger, ledger.events_recorder.commit() as commit:
        commit.append(rows.pack())
        more = Rows()
        more.add("user:0", 2, "k.v1", b"{}")
        commit.append(more.pack())
    whole = verified(database_url)
    assert (whole.events, whole.seals, whole.altered) == (RUN_EVENTS + 2, 2, None)


def test_what_is_given_up_leaves_no_seal(database_url: str) -> None:
    rows = Rows()
    rows.add("user:u", 1, "k.v1", b"{}")
    with opened(database_url) as ledger:
        with suppress(RuntimeError), ledger.events_recorder.commit() as commit:
            commit.append(rows.pack())
            raise RuntimeError
        with ledger.events_recorder.commit():
            pass
    assert verified(database_url).seals == 0
