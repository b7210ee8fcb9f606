"""Evaluating alerts on PostgreSQL: who evaluates, what is on record when, who is told, what a next one knows."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow
from structlog.testing import capture_logs

from ledger.alerting.instance_note import OwnNotes
from ledger.alerting.journal import FILE, Journal
from ledger.alerting.loss_windows import LossWindows
from ledger.alerting.notices import Notice, What
from ledger.alerting.notifier import Notifier
from ledger.alerting.telling import Notifiers
from ledger.alerting.watch import Alerting, Sight
from ledger.domain.alert_events import SERVICE, AlertBegan, AlertEnded
from ledger.domain.instants import from_datetime, to_text
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState
from ledger.errors import LedgerError, StoreUnavailable
from ledger.http.counters import Counters
from ledger.http.refusals import Refusals
from ledger.http.senders import Senders
from ledger.ingest import alert_record
from ledger.ingest.clock import Clock
from ledger.reconcile.leadership import Leadership
from ledger.service.alerts import ALERTS_LOCK
from ledger.settings import NotifySettings, Settings
from ledger.settings.load import load
from ledger.store.ledger import Ledger
from ledger.store.mapper import source_stream
from ledger.working_state import alerts, node_health
from ledger.working_state.alerts import AlertRow
from tests.support.following import connect
from tests.support.ledgers import OF_THIS_DATABASE, configure, end_sessions
from tests.support.service import wait_for

T = 1_800_000_000 * SECOND
STORE_AWAY = "PostgreSQL does not take what is written"
SHORT = """
[alerts]
clear_seconds = 10
node_down_for_seconds = 2
store_unavailable_for_seconds = 2
disk_low_share = 0
disk_low_bytes = 0
[[notify]]
name = "oncall"
url = "json://127.0.0.1:1"
[[notify]]
name = "boss"
url = "json://127.0.0.1:1"
from_severity = "critical"
"""


class Instance:
    """An instance's alerting, step by step: its clock, its lead and its store are the test's to say."""

    def __init__(self, ledger: Ledger, settings: Settings, name: str = "i", led: bool = True) -> None:
        self.now, self.seconds = T, 100.0
        self.is_leading, self.away = led, ""
        self.waits = False
        self.down: set[str] = set()
        self.sent: list[tuple[str, str, What]] = []
        self.bodies: list[tuple[str, str]] = []
        self.refuses = False
        self.ledger_id = "a-ledger"
        self.notifiers: list[Notifier] = []
        self._ledger = ledger
        self._settings = settings
        self._name = name
        self.alerting: Alerting

    def states(self) -> Mapping[str, SourceState]:
        node = NodeState(down_since=self.now - SECOND) if "n1" in self.down else NodeState()
        return {"main": SourceState("main", 1, node_profiles={"n1": Profile.V2_2}, nodes={"n1": node})}

    async def look(self) -> float:
        if self.away:
            raise StoreUnavailable(self.away)
        return 0.0

    def take(self) -> bool:
        return self.is_leading

    def still_holds(self) -> bool:
        return False

    def give_up(self) -> None:
        self.is_leading = False

    def make(self) -> None:
        """In the event loop."""
        sight = Sight(
            self._ledger,
            self._name,
            self.look,
            self.states,
            self,
            OwnNotes(self._settings, Refusals({"main": ["n1"]}, Counters().registry), Senders()),
            Journal(self._settings.data_dir, self.ledger_id),
            lambda: self.now,
            lambda: self.waits,
        )

        def notifier(entry: NotifySettings, told: Callable[[str, What, int], None], now: Callable[[], int]) -> Notifier:
            def send(notice: Notice) -> str | None:
                if self.refuses:
                    return "503"
                self.sent.append((entry.name, notice.title, notice.what))
                self.bodies.append((entry.name, notice.body))
                return None

            self.notifiers.append(Notifier(entry.name, send, told, now, 0.001))
            return self.notifiers[-1]

        self.alerting = Alerting(
            self._settings,
            sight,
            lambda told: Notifiers(self._settings.notify, notifier, lambda: self.now, told),
            lambda: self.seconds,
        )
        self.alerting._telling.start()

    async def passes(self, seconds: float) -> None:
        """So much later it looks again, and whoever is to be told has been."""
        self.now += round(seconds * SECOND)
        self.seconds += seconds
        await self.alerting.evaluate()
        if not self.refuses:
            await asyncio.to_thread(wait_for, lambda: not any(each.waiting for each in self.notifiers))
        # What the notifiers' threads called.
        await asyncio.sleep(0)

    async def leaves(self) -> None:
        await self.alerting.stop()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "presence-ledger.toml").write_text(SHORT)
    found = load(folder=tmp_path, environ={})
    found.data_dir.mkdir()
    return found


@pytest.fixture(autouse=True)
def _known(connection: Connection[TupleRow]) -> None:
    """What the leading instance noted of a source in which nothing is wrong."""
    noted = {"noted_at": to_text(T), "recent": {"seconds": 10_000.0, "looked": 0, "drifts": []}, "strangers_told": True}
    node_health.write(connection.cursor(), "main", {"": noted | {"profile_told": ["n1"]}, "n1": {}})


def run(story: Callable[[], Any]) -> None:
    asyncio.run(story())


def kinds(ledger: Ledger, source: str = "main") -> list[str]:
    rows = ledger.events_recorder.stream_rows(source_stream(source), limit=100)
    return [row.kind.partition(".")[0] for row in rows]


def test_it_begins_is_told_ends_and_is_told(
    ledger: Ledger, settings: Settings, connection: Connection[TupleRow]
) -> None:
    instance = Instance(ledger, settings)

    async def story() -> None:
        instance.make()
        await instance.passes(1)
        instance.down.add("n1")
        for _ in range(4):
            await instance.passes(1)
        [row] = alerts.on(connection)
        assert (row.name, row.source, row.subject, row.state) == ("node_down", "main", "n1", "firing")
        assert row.began_at == T + 4 * SECOND
        instance.down.clear()
        for _ in range(14):
            await instance.passes(1)
        await instance.leaves()

    run(story)
    [over] = alerts.page(connection, "resolved", 0, 9)
    assert kinds(ledger) == ["alert_began", "alert_ended"]
    assert sorted(instance.sent) == sorted(
        (name, f"[{how}] Node n1 of main is down", what)
        for name in ("oncall", "boss")
        for how, what in (("critical", "began"), ("resolved", "ended"))
    )
    assert {name: all(told.values()) for name, told in over.notices.items()} == {"oncall": True, "boss": True}


def test_what_it_cost_is_on_record_and_told_with_its_end(
    ledger: Ledger, settings: Settings, connection: Connection[TupleRow]
) -> None:
    """Users who were shown wrongly meanwhile, as far as looks have found them, and for how long together."""
    instance = Instance(ledger, settings)

    async def story() -> None:
        instance.make()
        instance.down.add("n1")
        for _ in range(4):
            await instance.passes(1)
        for uid, agreed, found, ended in (("u", 1, 2, 5), ("v", None, 3, 5), ("v", 6, 7, None), ("before", -9, -5, 2)):
            instants = [None if each is None else T + each * SECOND for each in (agreed, found, ended)]
            drift(connection, uid, *instants)
        instance.down.clear()
        for _ in range(14):
            await instance.passes(1)
        await instance.leaves()

    run(story)
    [over] = alerts.page(connection, "resolved", 0, 9)
    # It ends at T + 15: three and two seconds at least, and the one that goes on since T + 7.
    assert over.ended_at == T + 15 * SECOND
    told = {name: over.figures[name] for name in ("wrong_users", "user_seconds_at_least", "user_seconds_at_most")}
    assert told == {"wrong_users": 2, "user_seconds_at_least": 13.0, "user_seconds_at_most": 15.0}
    [_, ended] = ledger.events_recorder.stream_rows(source_stream("main"), limit=9)
    event = ledger.event(ended)
    assert isinstance(event, AlertEnded)
    assert event.figures == over.figures
    body = [each for name, each in instance.bodies if name == "oncall"][-1]
    assert "2 users of main were shown wrongly meanwhile, for 13 to 15 user-seconds together" in body


def drift(
    connection: Connection[TupleRow], uid: str, agreed_at: int | None, disagreed_at: int | None, ended_at: int | None
) -> None:
    state = "open" if ended_at is None else "corrected"
    connection.execute(
        "INSERT INTO drifts VALUES (%s, 'main', 1, 'ghost', %s, %s, %s, %s, 'gap', 'r', 'n1', 1)",
        (uid, state, agreed_at, disagreed_at, ended_at),
    )


def test_an_alert_of_a_newer_version_is_left_to_it(
    ledger: Ledger, settings: Settings, connection: Connection[TupleRow]
) -> None:
    newer = AlertRow("a1", 1, "from_the_future", "critical", "main", "", "", T, T, {}, [])
    alerts.begin(connection.cursor(), newer)
    instance = Instance(ledger, settings)

    async def story() -> None:
        instance.make()
        for _ in range(14):
            await instance.passes(1)
        await instance.leaves()

    run(story)
    assert (instance.sent, alerts.on(connection)) == ([], [newer])


def test_who_does_not_lead_evaluates_nothing(ledger: Ledger, settings: Settings) -> None:
    instance = Instance(ledger, settings, led=False)

    async def story() -> None:
        instance.make()
        instance.down.add("n1")
        for _ in range(5):
            await instance.passes(1)
        await instance.leaves()

    run(story)
    assert (kinds(ledger), instance.sent, instance.alerting.on()) == ([], [], None)


def test_the_next_one_goes_on_and_tells_nobody_twice(
    ledger: Ledger, settings: Settings, connection: Connection[TupleRow]
) -> None:
    first, second = Instance(ledger, settings, "a"), Instance(ledger, settings, "b", led=False)

    async def story() -> None:
        for each in (first, second):
            each.make()
            each.down.add("n1")
        for _ in range(4):
            await first.passes(1)
            await second.passes(1)
        first.is_leading, second.is_leading = False, True
        for _ in range(5):
            await first.passes(1)
            await second.passes(1)
        second.down.clear()
        for _ in range(13):
            await second.passes(1)
        await first.leaves()
        await second.leaves()

    run(story)
    assert kinds(ledger) == ["alert_began", "alert_ended"]
    assert {what for _, _, what in first.sent} == {"began"}
    assert {what for _, _, what in second.sent} == {"ended"}
    assert len(first.sent) == len(second.sent) == 2


def test_while_the_store_is_away_people_are_told_and_the_record_follows(
    ledger: Ledger, settings: Settings, connection: Connection[TupleRow]
) -> None:
    instance = Instance(ledger, settings)

    async def story() -> None:
        instance.make()
        await instance.passes(1)
        instance.away, instance.is_leading = "PostgreSQL does not answer\nat all", False
        for _ in range(4):
            await instance.passes(1)
        assert ("oncall", "[critical] PostgreSQL does not take what is written", "began") in instance.sent
        assert alerts.on(connection) == []
        assert [row.name for row in instance.alerting.on() or ()] == ["store_unavailable"]
        instance.away = ""
        await instance.passes(1)
        [row] = alerts.on(connection)
        assert (row.name, row.source, row.began_at) == ("store_unavailable", SERVICE, T + 4 * SECOND)
        assert row.figures["reason"] == "PostgreSQL does not answer"
        instance.is_leading = True
        for _ in range(13):
            await instance.passes(1)
        await instance.leaves()

    run(story)
    assert kinds(ledger, SERVICE) == ["alert_began", "alert_ended"]
    assert [what for name, _, what in instance.sent if name == "oncall"] == ["began", "ended"]
    [began, _] = ledger.events_recorder.stream_rows(source_stream(SERVICE), limit=9)
    event = ledger.event(began)
    assert isinstance(event, AlertBegan)
    assert event.at == T + 4 * SECOND


def test_what_was_told_while_the_store_was_away_is_on_record_with_the_alert(
    ledger: Ledger, settings: Settings, connection: Connection[TupleRow]
) -> None:
    first, second = Instance(ledger, settings, "a"), Instance(ledger, settings, "b", led=False)

    async def story() -> None:
        for each in (first, second):
            each.make()
            await each.passes(1)
        first.away = second.away = "PostgreSQL does not answer"
        for _ in range(4):
            await first.passes(1)
            await second.passes(1)
        assert len(first.sent) == 2
        first.away = second.away = ""
        first.is_leading, second.is_leading = False, True
        await first.passes(1)
        [row] = alerts.on(connection)
        assert {name: told["began"] is not None for name, told in row.notices.items()} == {"oncall": True, "boss": True}
        await second.passes(1)
        await first.leaves()
        await second.leaves()

    run(story)
    assert second.sent == []


async def dies_while_the_store_is_away(instance: Instance) -> None:
    """Its alert has begun and has been told; nothing of it is on record, and nothing is done in order."""
    instance.make()
    await instance.passes(1)
    instance.away = "PostgreSQL does not answer"
    for _ in range(4):
        await instance.passes(1)
    # Told what it has told, which wakes it.
    await instance.passes(0)
    instance.alerting._thread.shutdown()


def something_is_recorded(ledger: Ledger) -> int:
    """-> when"""
    configure(ledger)
    [row, *_] = ledger.events_recorder.stream_rows(source_stream("main"), limit=1)
    return from_datetime(row.recorded_at)


def test_what_began_while_the_store_was_away_outlives_its_instance(
    ledger: Ledger, settings: Settings, connection: Connection[TupleRow]
) -> None:
    killed, next_one, after_it = (Instance(ledger, settings, name) for name in "abc")
    began_at = killed.now = Clock().now() - 3600 * SECOND
    next_one.now = after_it.now = Clock().now()

    async def story() -> None:
        await dies_while_the_store_is_away(killed)
        assert (settings.data_dir / FILE).stat().st_mode & 0o077 == 0
        back_at = something_is_recorded(ledger)
        next_one.make()
        await next_one.passes(1)
        await next_one.leaves()
        [row] = alerts.page(connection, None, 0, 9)
        assert (row.name, row.began_at, row.ended_at) == ("store_unavailable", began_at + 4 * SECOND, back_at)
        assert not (settings.data_dir / FILE).exists()
        after_it.make()
        await after_it.passes(1)
        await after_it.leaves()

    run(story)
    assert kinds(ledger, SERVICE) == ["alert_began", "alert_ended"]
    assert sorted(killed.sent) == [(each, f"[critical] {STORE_AWAY}", "began") for each in ("boss", "oncall")]
    assert sorted(next_one.sent) == [(each, f"[resolved] {STORE_AWAY}", "ended") for each in ("boss", "oncall")]
    assert after_it.sent == []


def test_the_count_of_loss_may_end_while_it_is_being_cancelled(
    ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live() -> None:
        windows = LossWindows(ledger, settings)
        windows.refresh(T)
        loop, counting, is_over = asyncio.get_running_loop(), windows._counting, threading.Event()
        assert counting is not None

        def cancel() -> None:
            loop.call_soon_threadsafe(counting.add_done_callback, lambda _: is_over.set())
            assert is_over.wait(60)

        monkeypatch.setattr(windows, "_cancel", cancel)
        await windows.stop()
        assert windows.counted == {}

    asyncio.run(live())


@pytest.mark.parametrize(("short", "settled"), [(1800, 2), (100, 4)])
def test_what_a_look_found_a_moment_ago_may_still_be_told_by_its_webhook(
    settings: Settings, ledger: Ledger, connection: Connection[TupleRow], short: int, settled: int
) -> None:
    """Counted are those that were found a minute ago or, of shorter windows, a tenth of the shortest ago."""
    numbers = {**settings.alerts.numbers, "webhook_loss_budget_fast_short_seconds": short}
    alerts_of = replace(settings.alerts, numbers=numbers)
    windows = LossWindows(ledger, replace(settings, alerts=alerts_of))
    for ago in (0, 5, 15, 50, 70, 80):
        row = (f"u{ago}", settings.sources[0].name, T - (ago + 10_000) * SECOND, T - ago * SECOND)
        connection.execute("INSERT INTO untold VALUES (%s, 1, 'offline', %s, 'n1', '', 'gap', %s, %s, 'final')", row)

    async def live() -> None:
        windows.refresh(T)
        await asyncio.to_thread(wait_for, lambda: windows.counted is not None)

    run(live)
    assert windows.counted is not None
    [counts] = windows.counted.values()
    assert {each.lost for each in counts.values()} == {settled}


def test_of_an_incident_that_another_instance_has_recorded_meanwhile_nothing_is_left(
    ledger: Ledger, settings: Settings, connection: Connection[TupleRow]
) -> None:
    killed, next_one = Instance(ledger, settings, "a"), Instance(ledger, settings, "b")
    others = AlertRow("other", 0, "store_unavailable", "critical", SERVICE, "", "", T + 9 * SECOND, T, {"reason": ""})

    async def story() -> None:
        await dies_while_the_store_is_away(killed)
        alert_record.record(ledger, SERVICE, [others], [])
        next_one.make()
        await next_one.passes(1)
        await next_one.leaves()

    run(story)
    assert [row.id for row in alerts.page(connection, None, 0, 9)] == ["other"]


@pytest.mark.parametrize("spoilt", [None, b"{", b'{"ledger":1}'])
def test_what_was_kept_of_another_ledger_or_cannot_be_read_is_left_alone(
    ledger: Ledger, settings: Settings, connection: Connection[TupleRow], spoilt: bytes | None
) -> None:
    killed, next_one = Instance(ledger, settings, "a"), Instance(ledger, settings, "b")
    next_one.ledger_id = "another" if spoilt is None else killed.ledger_id

    async def story() -> None:
        await dies_while_the_store_is_away(killed)
        if spoilt is not None:
            (settings.data_dir / FILE).write_bytes(spoilt)
        next_one.make()
        await next_one.passes(1)
        await next_one.leaves()

    with capture_logs() as logs:
        run(story)
    assert (alerts.page(connection, None, 0, 9), next_one.sent) == ([], [])
    assert [each["event"] for each in logs].count("kept_alerts_unreadable") == (spoilt is not None)


def test_a_disk_that_takes_no_file_is_told_of_once(ledger: Ledger, settings: Settings) -> None:
    settings.data_dir.rmdir()
    instance = Instance(ledger, settings)
    with capture_logs() as logs:
        run(lambda: dies_while_the_store_is_away(instance))
    assert [each["event"] for each in logs].count("alerts_not_kept") == 1
    assert len(instance.sent) == 2


def test_a_receiver_that_was_away_is_told_of_the_end_alone(
    ledger: Ledger, settings: Settings, connection: Connection[TupleRow]
) -> None:
    instance = Instance(ledger, settings)

    async def story() -> None:
        instance.make()
        instance.refuses = True
        instance.down.add("n1")
        for _ in range(4):
            await instance.passes(1)
        assert alerts.on(connection)[0].notices["oncall"] == {"began": None, "ended": None}
        instance.down.clear()
        for _ in range(12):
            await instance.passes(1)
        instance.refuses = False
        for _ in range(3):
            await instance.passes(1)
        await instance.leaves()

    run(story)
    assert {what for _, _, what in instance.sent} == {"ended"}


def test_what_cannot_be_put_on_record_is_tried_again(
    ledger: Ledger, settings: Settings, connection: Connection[TupleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = Instance(ledger, settings)
    record = alert_record.record

    def refused(*_: object) -> None:
        raise LedgerError("the stream cannot be read")

    async def story() -> None:
        instance.make()
        instance.down.add("n1")
        monkeypatch.setattr(alert_record, "record", refused)
        for _ in range(4):
            await instance.passes(1)
        assert alerts.on(connection) == []
        monkeypatch.setattr(alert_record, "record", record)
        await instance.passes(1)
        assert len(alerts.on(connection)) == 1
        await instance.leaves()

    with capture_logs() as logs:
        run(story)
    assert [each["event"] for each in logs].count("alerts_not_recorded") == 1
    assert len(instance.sent) == 2


def test_what_is_to_wait_is_told_at_once_and_recorded_later(
    ledger: Ledger, settings: Settings, connection: Connection[TupleRow]
) -> None:
    instance = Instance(ledger, settings)

    async def story() -> None:
        instance.make()
        instance.down.add("n1")
        instance.waits = True
        for _ in range(4):
            await instance.passes(1)
        assert alerts.on(connection) == []
        assert len(instance.sent) == 2
        instance.waits = False
        await instance.passes(1)
        assert len(alerts.on(connection)) == 1
        await instance.leaves()

    run(story)
    assert kinds(ledger, "main") == ["alert_began"]
    assert len(instance.sent) == 2


def test_a_defect_is_seen_once_and_does_not_end_it(ledger: Ledger, settings: Settings) -> None:
    instance = Instance(ledger, settings)

    async def story() -> None:
        instance.make()
        instance.alerting._settings = settings.__class__(
            **{**vars(settings), "alerts": settings.alerts.__class__(evaluate_seconds=0.01)}
        )
        looks = 0

        async def broken() -> float:
            nonlocal looks
            looks += 1
            raise RuntimeError("a defect")

        instance.alerting._sight = instance.alerting._sight._replace(look=broken)
        instance.alerting._task = asyncio.create_task(instance.alerting._run())
        await asyncio.to_thread(wait_for, lambda: looks >= 3)
        await instance.leaves()

    with capture_logs() as logs:
        run(story)
    assert [each["event"] for each in logs].count("alerts_failed") == 1


def test_figures_that_grow_while_it_is_on_are_kept(
    ledger: Ledger, settings: Settings, connection: Connection[TupleRow]
) -> None:
    instance = Instance(ledger, settings)

    def note(users: int) -> None:
        drift = {"cause": "restart", "node": "n1", "boot": 41, "users": users, "causes": {}}
        recent = {"seconds": 10_000.0, "looked": users, "drifts": [drift]}
        node_health.write(connection.cursor(), "main", {"": {"noted_at": to_text(instance.now), "recent": recent}})

    async def story() -> None:
        instance.make()
        for users in (100, 80_000):
            note(users)
            await instance.passes(1)
        await instance.leaves()

    run(story)
    [row] = alerts.on(connection)
    assert (row.name, row.subject, row.incident, row.figures["users"]) == ("drift_rate", "n1", "boot 41", 80_000)
    assert row.rests_on == [41]
    assert kinds(ledger) == ["alert_began"]


def test_a_count_of_loss_ends_with_the_service(ledger: Ledger, settings: Settings, database_url: str) -> None:
    counts = LossWindows(ledger, settings)

    async def story() -> None:
        with connect(database_url) as other, other.transaction():
            other.execute("LOCK TABLE transitions IN ACCESS EXCLUSIVE MODE")
            counts.refresh(T)
            await asyncio.to_thread(wait_for, lambda: counts._connection is not None and _waits(other))
            await counts.stop()
            await asyncio.to_thread(wait_for, lambda: counts._counting is None)

    run(story)
    assert counts.counted is None


def _waits(connection: Connection[TupleRow]) -> bool:
    query = f"""
        SELECT count(*) FROM pg_locks
         WHERE NOT granted AND relation = 'transitions'::regclass AND {OF_THIS_DATABASE}
    """
    return connection.execute(query).fetchone() == (1,)


def test_a_count_of_loss_that_takes_long_holds_up_no_other_alert(
    ledger: Ledger, settings: Settings, connection: Connection[TupleRow], database_url: str
) -> None:
    instance = Instance(ledger, settings)

    async def story() -> None:
        instance.make()
        with connect(database_url) as other, other.transaction():
            other.execute("LOCK TABLE transitions IN ACCESS EXCLUSIVE MODE")
            instance.down.add("n1")
            for _ in range(4):
                await instance.passes(1)
            assert [row.name for row in alerts.on(connection)] == ["node_down"]
            assert instance.alerting._loss.counted is None
        await asyncio.to_thread(wait_for, lambda: instance.alerting._loss.counted is not None)
        instance.is_leading = False
        await instance.passes(1)
        assert instance.alerting._loss.counted is None
        await instance.leaves()

    run(story)


def test_instances_with_a_lock_of_alerts_take_turns_whoever_reconciles(
    ledger: Ledger, settings: Settings, connection: Connection[TupleRow], database_url: str
) -> None:
    first, second = Instance(ledger, settings, "a"), Instance(ledger, settings, "b")

    async def leads(instance: Instance) -> None:
        """A session ends a little after its lock is wanted."""
        async with asyncio.timeout(60):
            await instance.passes(0.1)
            while not instance.alerting._is_mine:
                await instance.passes(0.1)

    async def story() -> None:
        for each in (first, second):
            each.make()
            leadership = Leadership(database_url, ALERTS_LOCK, "alerts")
            each.alerting._sight = each.alerting._sight._replace(leadership=leadership)
            each.down.add("n1")
        for _ in range(4):
            await first.passes(1)
            await second.passes(1)
        assert (first.alerting._is_mine, second.alerting._is_mine) == (True, False)
        end_sessions(database_url, "application_name = 'presence-ledger alerts'")
        await leads(first)
        await first.leaves()
        await leads(second)
        await second.leaves()

    run(story)
    assert kinds(ledger) == ["alert_began"]
    assert (len(first.sent), len(second.sent)) == (2, 0)
