"""Sources' states: a snapshot and the events after it are the fold of the whole stream, recent bodies included."""

import asyncio
from itertools import count
from typing import Any

import msgspec
import pytest

from ledger.domain.event_types import SourceEvent
from ledger.domain.events import WebhookObserved
from ledger.domain.observation import SECOND
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState, evolve_source
from ledger.errors import StoreUnavailable
from ledger.http import readiness
from ledger.ingest.announce import Configuration, announce_start, announce_stop
from ledger.reconcile.requests import request_run
from ledger.store.ledger import Ledger
from ledger.store.mapper import source_stream
from ledger.store.recorder import StoredRow
from ledger.working_state import sources
from ledger.working_state.sources import SourceUnreadable
from tests.support import newer, pg
from tests.support.ledgers import SOURCE, configure, running

T = 1_800_000_000 * SECOND


def loaded(ledger: Ledger, name: str = SOURCE) -> SourceState:
    with ledger.connection() as connection:
        return sources.load(connection, ledger, name)


def folded(ledger: Ledger, name: str = SOURCE) -> SourceState:
    source = SourceState(name)
    for row in ledger.events_recorder.stream_rows(source_stream(name), limit=100_000):
        event = ledger.event(row)
        assert isinstance(event, SourceEvent)
        source = evolve_source(source, event, source.version + 1)
    return source


def assert_loads_as_it_folds(ledger: Ledger) -> None:
    found, expected = loaded(ledger), folded(ledger)
    assert list(found.recent) == list(expected.recent)
    assert msgspec.structs.replace(found, recent=expected.recent) == expected


def snapshot_version(ledger: Ledger) -> int:
    with ledger.connection() as connection:
        row = connection.execute("SELECT version FROM source_states WHERE source = %s", (SOURCE,)).fetchone()
    assert row is not None
    version: int = row[0]
    return version


async def deliver(ledger: Ledger, number: int, gap_seconds: float = 1.0, first: int = 0) -> None:
    """Deliveries at instants of their own, so many seconds apart."""
    async with running(ledger) as instance:
        for n in range(first, first + number):
            at = T + round(n * gap_seconds * SECOND)
            body = f'["u-0-1-{n}-1-1"]'.encode() if n % 7 else b'["no claim"]' if n % 2 else b"{}"
            await instance.intake.submit(f"d{n}", SOURCE, "n1", at, body)


@pg.on_every_server
@pytest.mark.parametrize("number", [1, 7, 8, 40])
def test_a_snapshot_and_what_followed_is_the_whole_stream(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(sources, "SNAPSHOT_EVERY", 8)
    configure(ledger)
    asyncio.run(deliver(ledger, number))
    version = loaded(ledger).version
    assert version - snapshot_version(ledger) < 8 + 2
    assert_loads_as_it_folds(ledger)


def test_the_window_of_bodies_is_read_in_pages_and_no_further(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SNAPSHOT_EVERY", 8)
    monkeypatch.setattr(sources, "_PAGE", 3)
    configure(ledger)
    asyncio.run(deliver(ledger, 60, gap_seconds=5.0))
    assert 5 < len(loaded(ledger).recent) < 20
    assert_loads_as_it_folds(ledger)


def test_a_state_follows_what_others_appended(ledger: Ledger) -> None:
    configure(ledger)
    before = loaded(ledger)
    asyncio.run(deliver(ledger, 10))
    with ledger.connection() as connection:
        after = sources.follow(connection, ledger, before)
    expected = folded(ledger)
    assert list(after.recent) == list(expected.recent)
    assert msgspec.structs.replace(after, recent=expected.recent) == expected


def test_a_source_that_never_started(ledger: Ledger) -> None:
    assert loaded(ledger) == SourceState(SOURCE)


def test_a_configuration_is_appended_only_where_it_is_another(ledger: Ledger) -> None:
    instances = count()

    def announce(policy: Policy) -> int:
        configuration = Configuration(policy, Profile.V3, {"n1": Profile.V3})
        # One instance is announced once, however often it says so.
        announce_start(ledger, f"i{next(instances)}", "1", {SOURCE: configuration}, T)
        return loaded(ledger).version

    assert announce(Policy()) == 2
    assert announce(Policy()) == 3
    assert announce(Policy(grace_seconds=1.0)) == 5
    assert (loaded(ledger).policy, loaded(ledger).profile) == (Policy(grace_seconds=1.0), Profile.V3)
    announce_stop(ledger, "i", [SOURCE], T)
    assert loaded(ledger).version == 6
    assert_loads_as_it_folds(ledger)


def test_the_position_of_the_rules_moves_with_a_configuration_alone(ledger: Ledger) -> None:
    def position() -> int:
        with ledger.connection() as connection:
            row = connection.execute("SELECT rules_position FROM source_states").fetchone()
        assert row is not None
        found: int = row[0]
        return found

    configure(ledger)
    assert position() == 2
    configure(ledger)
    announce_stop(ledger, "i", [SOURCE], T)
    assert position() == 2


def test_an_older_snapshot_never_replaces_a_newer_one(ledger: Ledger) -> None:
    configure(ledger)
    newest = loaded(ledger)
    older = msgspec.structs.replace(newest, version=newest.version - 1, dark_since=T)
    with ledger.connection() as connection:
        sources.write(connection.cursor(), [sources.to_row(older)])
    assert loaded(ledger) == newest


def test_a_users_event_in_a_sources_stream_is_a_defect(ledger: Ledger) -> None:
    event = WebhookObserved(
        source=SOURCE, node="n1", delivery="d", item=0, raw="", received_at=T, verdict="opened", rule="r",
        status_before="unknown", status_after="online", device_flag=0, online=True, conn_id=1,
    )  # fmt: skip
    kind, payload = ledger.events_mapper.kind_and_payload(event)
    with ledger.connection() as connection:
        connection.execute(
            "INSERT INTO events (stream, version, position, kind, payload, recorded_at)"
            " VALUES (%s, 1, 1, %s, %s, now())",
            (source_stream(SOURCE), kind, payload),
        )
    with ledger.connection() as connection, pytest.raises(TypeError, match="WebhookObserved stands in a source's"):
        sources.follow(connection, ledger, SourceState(SOURCE))


@pytest.mark.parametrize(
    ("kind", "payload", "way_out"),
    [
        (newer.KIND, b"{}", "run the newer one that wrote it"),
        ("source_lit.v1", b'{"at"\x80', "`presence-ledger verify` tells whether it was altered"),
    ],
)
def test_a_source_that_cannot_be_read_says_where_and_the_way_out(
    ledger: Ledger, kind: str, payload: bytes, way_out: str
) -> None:
    configure(ledger)
    before = loaded(ledger)
    position = newer.leave_an_event(ledger, kind=kind, payload=payload)
    says = (
        f"^The state of source 'main' is not known. At position {position} the ledger holds an event of kind '{kind}'"
    )
    with pytest.raises(SourceUnreadable, match=says) as raised:
        loaded(ledger)
    assert way_out in str(raised.value)
    assert (raised.value.source, raised.value.state) == (SOURCE, before)
    with pytest.raises(SourceUnreadable, match=says):
        request_run(ledger, SOURCE, [], "i", T)


def test_what_is_known_is_followed_or_read_anew_where_another_version_got_beyond(ledger: Ledger) -> None:
    configure(ledger)
    known = loaded(ledger)
    newer.leave_an_event(ledger)
    with ledger.connection() as connection:
        with pytest.raises(SourceUnreadable):
            sources.bring_up_to_date(connection, ledger, SOURCE, known)
        newer.go_on(ledger)
        found = sources.bring_up_to_date(connection, ledger, SOURCE, known)
    assert (found.version, list(found.recent)) == (loaded(ledger).version, list(loaded(ledger).recent))


@pytest.mark.parametrize("page", [3, 1000])
def test_what_is_known_is_followed_where_that_is_shorter_than_reading_the_source_anew(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(sources, "SNAPSHOT_EVERY", 8)
    monkeypatch.setattr(sources, "_PAGE", page)
    configure(ledger)
    old = loaded(ledger)
    asyncio.run(deliver(ledger, 20))
    with_a_window = loaded(ledger)
    asyncio.run(deliver(ledger, 10, first=20))
    latest = loaded(ledger)
    followed = []
    follow = sources.follow

    def noted(connection: Any, ledger: Ledger, source: SourceState) -> SourceState:
        followed.append(source.version)
        return follow(connection, ledger, source)

    monkeypatch.setattr(sources, "follow", noted)
    with ledger.connection() as connection:
        for known in (old, with_a_window):
            found = sources.bring_up_to_date(connection, ledger, SOURCE, known)
            assert list(found.recent) == list(latest.recent)
            assert msgspec.structs.replace(found, recent=latest.recent) == latest
    assert len(with_a_window.recent) > 10
    assert followed == [snapshot_version(ledger) if page == 3 else old.version, with_a_window.version]


def test_streams_are_checked_to_their_end_by_one_at_a_time(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(ledger, sources=("one", "two"))
    streams = readiness.SourceStreams(ledger, ("one", "two"))
    streams.check()
    position = newer.leave_an_event(ledger, "two")
    for _ in range(2):
        with pytest.raises(SourceUnreadable, match=f"'two' is not known. At position {position} "):
            streams.check()
    assert streams.states().keys() == {"one"}
    newer.go_on(ledger, "two")
    assert streams.states().keys() == {"one", "two"}
    streams.check()
    monkeypatch.setattr(readiness, "WAIT_SECONDS", 0.01)
    with streams._reading, pytest.raises(StoreUnavailable, match="still being read"):
        streams.check()


def test_a_start_and_a_stop_are_told_wherever_they_can_be(ledger: Ledger) -> None:
    configure(ledger, sources=("one", "two", "three"))
    newer.leave_an_event(ledger, "two")
    configuration = Configuration(Policy(), Profile.V3, {"n1": Profile.V3})
    names = ("one", "two", "three")
    before = {name: len(rows(ledger, name)) for name in names}
    not_told = announce_start(ledger, "j", "1", dict.fromkeys(names, configuration), T)
    assert not_told.keys() == announce_stop(ledger, "j", names, T).keys() == {"two"}
    assert {name: len(rows(ledger, name)) - before[name] for name in names} == {"one": 3, "two": 0, "three": 3}


def rows(ledger: Ledger, name: str) -> list[StoredRow]:
    return ledger.events_recorder.stream_rows(source_stream(name), limit=100)
