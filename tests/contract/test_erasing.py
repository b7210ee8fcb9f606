"""Erasure on a real server: nothing names the user afterwards, the seals hold, and nobody brings them back."""

import asyncio
import json
from pathlib import Path
from unittest.mock import Mock

import psycopg
import pytest
from eventsourcing.persistence import PersistenceError
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.erasure_events import UserErased
from ledger.domain.look import Watch
from ledger.domain.reconciliation_events import Finding, PollObserved, RunStarted
from ledger.ingest import alert_record, erasing, erasing_end, overrides
from ledger.ingest.append import append
from ledger.ingest.clock import Clock
from ledger.ingest.erasing import Erasure, NeverSeen, Order, RebuildUnderWay, SpoolHoldsWebhooks
from ledger.service.erasures import Erasures
from ledger.settings.load import load
from ledger.store.ledger import Ledger
from ledger.store.seal import SealKey
from ledger.working_state import backups, erasures, looks, reads, sinks, sources, watch_list_changes, watch_lists
from ledger.working_state.alerts import AlertRow
from ledger.working_state.reads import LookUp
from ledger.working_state.sinks import SinkCheckpoint
from projections.engine import rebuild
from projections.engine.projector import Projector
from projections.models import current
from projections.models.registry import FOLLOWING
from tests.support.dumping import tables_naming
from tests.support.following import connect, follow_all
from tests.support.ledgers import SEAL_KEY, SOURCE, configure, opened, running
from tests.support.tampering import unguarded, verified

UID, OTHER = "forget.me-用户", "stays"
ORDER = Order(f"asked by {UID}, ticket 1", "ops")
KEYS = [SEAL_KEY]


def now() -> int:
    return Clock().now()


async def post(ledger: Ledger, *bodies: bytes) -> None:
    async with running(ledger) as instance:
        for body in bodies:
            await instance.post(body)


def lives(ledger: Ledger, url: str) -> None:
    """A user whom every table names, and another one beside them."""
    configure(ledger)
    at_once = json.dumps([f"{UID}-0-1-1-1-1", f"{OTHER}-0-1-2-1-1", f"{UID}-x", {"uid": UID}]).encode()
    asyncio.run(
        post(
            ledger,
            at_once,
            json.dumps([f"{UID}-1-1-3-1-2", f"{UID}-1-1-3-1-2"]).encode(),
            f'{{"not an array": "{UID}"}}'.encode(),
            json.dumps([f"{UID}-1-0-3-0-1"]).encode(),
        )
    )
    overrides.put(ledger, UID, overrides.OverrideOrder("offline", "lost", "ops", 3600.0, until_evidence=False), now())
    at = now()

    def polled(draft):  # type: ignore[no-untyped-def]
        yield draft.append_to_source(
            SOURCE, RunStarted(run="r", at=at, instance="i", scope="manual", uids=(UID, OTHER))
        )
        findings = tuple(Finding(uid, "ghost", "open", None, at) for uid in (UID, OTHER))
        poll = PollObserved(
            poll="p", run="r", node="n1", route="/user/onlinestatus", asked_at=at, answered_at=at, head=1, asked=2,
            agreed=0, findings=findings, rows={UID: "0:1", OTHER: "0:1"},
        )  # fmt: skip
        yield draft.append_to_source(SOURCE, poll)

    append(ledger, {SOURCE: None}, (), polled)
    usual = {"severity": "info", "subject": "n1", "incident": "", "began_at": at, "since": at, "rests_on": ()}
    alert = AlertRow("a", 0, "node_down", source=SOURCE, figures={"reason": f"said {UID}"}, **usual)  # type: ignore[arg-type]
    alert_record.record(ledger, SOURCE, [alert], [])
    with ledger.connection() as connection:
        # A snapshot while the run is open.
        sources.write(connection.cursor(), [sources.to_row(sources.load(connection, ledger, SOURCE))])
        looks.write(connection.cursor(), SOURCE, {uid: Watch(at) for uid in (UID, OTHER)})
        watch_list_changes.put(connection, "friends", [UID, OTHER], [UID], "app")
        sinks.begin(connection, "app", SinkCheckpoint("e", 0, 0, 0, at))
        connection.execute("INSERT INTO sink_users (uid, sink, told) VALUES (%s, 'app', 'x')", (UID,))
        connection.execute("INSERT INTO snapshots VALUES (%s, 1, 1, 'x')", (UID,))
        connection.execute(
            "INSERT INTO canaries (uid, source, node, since, every_seconds) VALUES (%s, 'gone', 'n1', 1, 60)", (UID,)
        )
        connection.execute("INSERT INTO canary_times (uid, after) VALUES (%s, 0)", (UID,))
        reads.write(connection, "00000000-0000-0000-0000-000000000000", [LookUp(UID, "app", "/x", at, at, 1)])
    follow(url)


def follow(url: str) -> None:
    with connect(url) as connection:
        follow_all(connection, Projector(FOLLOWING))


@pytest.fixture
def ledger(ledger: Ledger, database_url: str) -> Ledger:
    lives(ledger, database_url)
    return ledger


def erase(ledger: Ledger, uid: str = UID) -> Erasure:
    return erasing.erase(ledger, uid, ORDER, KEYS, now())


def finished(ledger: Ledger, *names: str) -> int:
    with ledger.connection() as connection:
        connection.execute("UPDATE erasures SET recorded_at = recorded_at - interval '1 minute'")
    return erasing_end.finish(ledger, names)


def test_every_table_of_users_is_known_and_named_before_it(
    ledger: Ledger, connection: Connection[TupleRow], database_url: str
) -> None:
    columns = "SELECT table_name FROM information_schema.columns WHERE column_name = 'uid' AND table_schema = 'public'"
    known = {*erasures.PER_USER_TABLES, *erasures.LIST_TABLES}
    views = {"current_presence"}
    assert {name for (name,) in connection.execute(columns)} - views == known
    named = {table.removeprefix("public.") for table in tables_naming(connection, UID)}
    # `untold` has the transitions that were lost, of which there is none.
    assert named == known - {"untold"} | {"alerts", "events_from_1", "source_states"}


def test_nothing_names_the_user_and_the_seals_hold(
    ledger: Ledger, connection: Connection[TupleRow], database_url: str
) -> None:
    before = verified(database_url)
    erasure = erase(ledger)
    assert tables_naming(connection, UID) == {"public.erasures", "public.list_members", "public.list_watchers"}
    assert finished(ledger, "another") == 1
    assert tables_naming(connection, UID) == set()
    event = erasure.event
    assert (event.by, event.reason, event.events) == ("ops", "asked by [erased], ticket 1", 5)
    assert len(event.redacted) == 6
    found = verified(database_url)
    assert (found.is_intact, found.erased) == (True, 5)
    assert found.events == before.events - 5 + 2  # and the end of the run that named them
    # The other one is as they were.
    assert {uid for (uid,) in connection.execute("SELECT uid FROM current")} == {OTHER}
    assert [uid for (uid,) in connection.execute("SELECT uid FROM drifts")] == [OTHER]
    assert watch_lists.members_of(connection, "friends", "", 10) == [OTHER]


def vacuums(connection: Connection[TupleRow], table: str = "erasures") -> int:
    """How often a table was vacuumed by a command."""
    row = connection.execute("SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = %s", (table,)).fetchone()
    assert row is not None
    count: int = row[0]
    return count


def keeper(ledger: Ledger, database_url: str, folder: Path) -> Erasures:
    settings = load(environ={}, folder=folder)
    return Erasures(ledger, database_url, lambda: settings, now)


def test_after_a_kill_another_instance_has_the_space_reused(
    ledger: Ledger, connection: Connection[TupleRow], database_url: str, tmp_path: Path
) -> None:
    erase(ledger)
    # The instance that finished it, as the answer to its request does too, is killed before anything more.
    assert finished(ledger) == 1
    assert erasing_end.waiting_for(ledger, erase(ledger).position, []) is None
    assert vacuums(connection) == 0
    asyncio.run(keeper(ledger, database_url, tmp_path).look())
    assert (vacuums(connection), vacuums(connection, "sessions")) == (1, 1)
    assert not erasing_end.leaves_space(ledger)
    # Once is enough, whoever looks.
    asyncio.run(keeper(ledger, database_url, tmp_path).look())
    assert vacuums(connection) == 1


def test_what_is_cut_off_or_left_out_is_reused_later(
    ledger: Ledger, connection: Connection[TupleRow], database_url: str
) -> None:
    erase(ledger)
    finished(ledger)

    def cut_off(working: Connection[TupleRow]) -> None:
        working.execute("SET statement_timeout = 1")
        working.execute("SET vacuum_cost_delay = 100")
        working.execute("SET vacuum_cost_limit = 1")

    erasing_end.overwrite(database_url, cut_off)
    assert erasing_end.leaves_space(ledger)
    with psycopg.connect(database_url) as holding:
        holding.execute("LOCK TABLE looks IN SHARE UPDATE EXCLUSIVE MODE")
        erasing_end.overwrite(database_url)
        assert (vacuums(connection), vacuums(connection, "looks")) == (1, 0)
        assert erasing_end.leaves_space(ledger)
    erasing_end.overwrite(database_url)
    assert vacuums(connection, "looks") == 1
    assert not erasing_end.leaves_space(ledger)


def test_twice_is_the_same_record_and_never_seen_is_none(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    first = erase(ledger)
    head = connection.execute("SELECT max(position) FROM events").fetchone()
    again = erase(ledger)
    # The lists' rows are still there until it is finished; they alone make no second erasure.
    assert (again.position, again.event, again.is_new) == (first.position, first.event, False)
    assert finished(ledger) == 1
    again = erasing.erase(ledger, UID, ORDER, [SealKey("a-newer-key-that-seals-from-now-on-"), *KEYS], now())
    assert (again.position, again.event, again.is_new) == (first.position, first.event, False)
    with pytest.raises(NeverSeen):
        erase(ledger, "nobody")
    assert connection.execute("SELECT max(position) FROM events").fetchone() == head


def test_what_is_left_of_them_meanwhile_makes_no_second_erasure(
    ledger: Ledger, connection: Connection[TupleRow]
) -> None:
    first = erase(ledger)
    # A sink that had told of them, and notes it only now.
    connection.execute("INSERT INTO sink_users (uid, sink, told) VALUES (%s, 'app', 'x')", (UID,))
    again = erase(ledger)
    assert (again.position, again.is_new) == (first.position, False)
    assert finished(ledger) == 1
    assert tables_naming(connection, UID) == set()
    assert erase(ledger).is_new is False


def test_who_comes_again_is_new_and_can_be_erased_again(
    ledger: Ledger, connection: Connection[TupleRow], database_url: str
) -> None:
    first = erase(ledger)
    asyncio.run(post(ledger, json.dumps([f"{UID}-0-1-9-1-1"]).encode()))
    finished(ledger)
    assert current.load(connection, [UID])[UID].version == 1
    follow(database_url)
    second = erase(ledger)
    assert second.position > first.position
    assert second.event.events == 1
    finished(ledger)
    assert tables_naming(connection, UID) == set()
    assert verified(database_url).is_intact


def test_the_writers_of_every_instance_forget_the_user(ledger: Ledger, database_url: str) -> None:
    async def test() -> None:
        with opened(database_url) as second:
            async with running(ledger, "i") as here, running(second, "j") as there:
                for each in (here, there):
                    await each.post(json.dumps([f"{UID}-0-1-11-1-1"]).encode())
                await asyncio.to_thread(erase, second)
                await here.post(json.dumps([f"{UID}-0-0-11-0-0"]).encode())
                await there.post(json.dumps([f"{UID}-0-1-12-1-1"]).encode())

    asyncio.run(test())
    with ledger.connection() as connection:
        presence = current.load(connection, [UID])[UID]
    assert presence.version == 2
    assert verified(database_url).is_intact


def test_webhooks_that_race_with_it_lose_nothing(ledger: Ledger, database_url: str) -> None:
    async def test() -> None:
        async with running(ledger) as here:
            posts = [here.post(json.dumps([f"{UID}-0-1-{n}-1-1", f"{OTHER}-0-1-{n}-1-1"]).encode()) for n in range(40)]
            await asyncio.gather(asyncio.to_thread(erase, ledger), *posts)

    asyncio.run(test())
    erase(ledger)
    with ledger.connection() as connection:
        assert OTHER in current.load(connection, [OTHER, UID])
        assert UID not in current.load(connection, [OTHER, UID])
    assert verified(database_url).is_intact


def test_a_projection_in_the_middle_does_not_bring_them_back(
    ledger: Ledger, connection: Connection[TupleRow], database_url: str
) -> None:
    asyncio.run(post(ledger, json.dumps([f"{UID}-0-1-20-1-1"]).encode()))
    projector = Projector(FOLLOWING, batch_events=2)
    with connect(database_url) as following:
        # What it reads for one projection is kept for the next.
        projector.round(following)
        erase(ledger)
        follow_all(following, projector)
    finished(ledger)
    assert tables_naming(connection, UID) == set()


def test_a_projector_that_remembers_them_does_not_bring_them_back(
    ledger: Ledger, connection: Connection[TupleRow], database_url: str
) -> None:
    """A session of theirs is in its memory, and open; who comes after the erasure has never had one."""
    with connect(database_url) as following:
        remembering = Projector(FOLLOWING)
        asyncio.run(post(ledger, json.dumps([f"{UID}-1-1-9-1-1"]).encode()))
        follow_all(following, remembering)
        erase(ledger)
        asyncio.run(post(ledger, json.dumps([f"{UID}-2-1-10-1-1"]).encode()))
        follow_all(following, remembering)
    found = connection.execute("SELECT device_flag, concurrent FROM sessions WHERE uid = %s", (UID,)).fetchall()
    assert found == [(2, 1)]


def test_rebuilt_it_is_the_same(ledger: Ledger, connection: Connection[TupleRow], database_url: str) -> None:
    erase(ledger)
    follow(database_url)
    tables = "sessions", "drifts"
    before = [connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2".encode()).fetchall() for table in tables]
    for name in ("sessions", "drift"):
        with rebuild.alone(database_url, name) as rebuilding:
            rebuild.Rebuild(rebuilding, database_url, FOLLOWING[name]).run(lambda _done, _of: None)
    after = [connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2".encode()).fetchall() for table in tables]
    assert after == before


def test_while_a_projection_is_rebuilt_nobody_is_erased(
    ledger: Ledger, connection: Connection[TupleRow], database_url: str
) -> None:
    with rebuild.alone(database_url, "sessions"), pytest.raises(RebuildUnderWay):
        erase(ledger)
    assert UID in current.load(connection, [UID])
    assert erase(ledger).is_new


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "under the lock"])
def test_while_webhooks_wait_in_a_spool_nobody_is_erased(
    at_once: bool, ledger: Ledger, connection: Connection[TupleRow]
) -> None:
    before = tables_naming(connection, UID)
    looks_at_spool = Mock(side_effect=[None] * (not at_once) + [SpoolHoldsWebhooks("im-1")])
    with pytest.raises(SpoolHoldsWebhooks, match=r"in the spool of im-1, .*nothing was erased"):
        erasing.erase(ledger, UID, ORDER, KEYS, now(), nothing_waits=looks_at_spool)
    assert tables_naming(connection, UID) == before
    assert erase(ledger).is_new


def test_what_fails_in_the_middle_has_done_nothing(
    ledger: Ledger, connection: Connection[TupleRow], database_url: str
) -> None:
    before = tables_naming(connection, UID)
    connection.execute(FAIL)
    connection.execute("CREATE TRIGGER fails BEFORE DELETE ON sessions EXECUTE FUNCTION fail()")
    with pytest.raises(PersistenceError):
        erase(ledger)
    assert tables_naming(connection, UID) == before
    connection.execute("DROP TRIGGER fails ON sessions")
    assert erase(ledger).is_new
    assert verified(database_url).is_intact


def test_it_waits_for_the_sinks_of_the_settings(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    erasure = erase(ledger)
    assert finished(ledger, "app") == 0
    assert erasing_end.waiting_for(ledger, erasure.position, ["app"]) == erasing_end.Waiting(["app"], held=False)
    connection.execute("UPDATE sinks SET position = %s", (erasure.position,))
    assert finished(ledger, "app") == 1
    assert erasing_end.waiting_for(ledger, erasure.position, ["app"]) is None


def test_late_notes_of_looks_and_reads_are_not_stored(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    erase(ledger)
    at = now()
    watches = {uid: Watch(at) for uid in (UID, OTHER)}
    looks.write(connection.cursor(), SOURCE, watches)
    assert looks.write_unmoved(connection.cursor(), SOURCE, watches) == {UID}
    looks.postpone(connection.cursor(), SOURCE, [UID, OTHER], at)
    late = [LookUp(uid, "app", "/x", at, at, 1) for uid in (UID, OTHER)]
    reads.write(connection, "00000000-0000-0000-0000-000000000001", late)
    for table in ("looks", "reads"):
        assert {uid for (uid,) in connection.execute(f"SELECT uid FROM {table}".encode())} == {OTHER}


FAIL = "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'"


def test_backups_made_before_it_hold_them(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    erasure = erase(ledger)
    assert backups.last_before(connection, erasure.position) is None
    backups.note(connection, erasure.position - 1)
    backups.note(connection, erasure.position)
    found = backups.last_before(connection, erasure.position)
    assert found is not None
    assert found[1] >= 0
    connection.execute("DROP TABLE backups")
    backups.note(connection, 1)


def test_reads_are_kept_for_a_time(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    at = now()
    for number in range(3):
        batch = f"00000000-0000-0000-0000-00000000001{number}"
        reads.write(connection, batch, [LookUp(OTHER, "app", "/x", at + number, at + number, 1)])
    assert reads.remove_before(connection, at + 2, 1) == 1
    assert reads.remove_before(connection, at + 2, 10) == 2
    [(_, left)] = reads.page(connection, OTHER, reads.FIRST, 0, reads.LATEST, 10)
    assert left.first_at == at + 2


TAMPERED = [
    (
        "an event put back",
        "INSERT INTO events SELECT 'user:x', 1, {gone}, kind, payload, recorded_at FROM events LIMIT 1",
    ),
    ("what is left altered", "UPDATE events SET payload = payload || ' ' WHERE position = {redacted}"),
    ("another one removed", "DELETE FROM events WHERE position = {other}"),
]


@pytest.mark.parametrize(("_how", "statement"), TAMPERED, ids=[how for how, _ in TAMPERED])
def test_what_is_altered_besides_is_found(
    _how: str, statement: str, ledger: Ledger, connection: Connection[TupleRow], database_url: str
) -> None:
    erase(ledger)
    row = connection.execute("SELECT position FROM events WHERE stream = %s", (f"user:{OTHER}",)).fetchone()
    assert row is not None
    redacted = connection.execute("SELECT position FROM events WHERE kind = 'body_rejected.v1'").fetchone()
    assert redacted is not None
    there = {position for (position,) in connection.execute("SELECT position FROM events")}
    gone = min(set(range(1, max(there))) - there)
    places = {"gone": gone, "redacted": redacted[0], "other": row[0]}
    with unguarded(database_url) as tampering:
        tampering.execute(statement.format(**places).encode())
        tampering.commit()
    altered = verified(database_url).altered
    assert altered is not None
    assert altered.position in places.values()
    assert altered.position == places[statement.split("{")[1].split("}", maxsplit=1)[0]]


def test_an_erasure_without_a_seal_allows_nothing(ledger: Ledger, database_url: str) -> None:
    with ledger.connection() as connection:
        row = connection.execute("SELECT position FROM events WHERE stream = %s", (f"user:{OTHER}",)).fetchone()
    assert row is not None
    forged = UserErased(at=1, by="x", reason="x", uid_hash="", key_id="", events=1, positions="")
    with unguarded(database_url) as tampering:
        tampering.execute("DELETE FROM events WHERE position = %s", row)
        kind, payload = ledger.events_mapper.kind_and_payload(forged)
        tampering.execute("INSERT INTO events VALUES ('source:(service)', 1, 1000, %s, %s, now())", (kind, payload))
        tampering.commit()
    altered = verified(database_url).altered
    assert altered is not None
    assert altered.position == row[0]


@pytest.mark.parametrize("statement", ["DELETE FROM events", "UPDATE events SET kind = 'x'", "TRUNCATE events"])
def test_without_an_erasure_nothing_is_changed(statement: str, ledger: Ledger, database_url: str) -> None:
    erasure = erase(ledger)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT set_config('presence_ledger.erasure', %s, false)", (str(erasure.position),))
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            connection.execute(statement.encode())
