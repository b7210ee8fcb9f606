"""Sources' states: a snapshot and the events after it are the fold of the whole stream, recent bodies included."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from ledger.domain.events import WebhookObserved
from ledger.domain.history import SourceEvent
from ledger.domain.observation import SECOND
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.recent import Body
from ledger.domain.source import SourceState, evolve_source
from ledger.ingest.announce import Configuration, announce_start, announce_stop
from ledger.store.ledger import Ledger
from ledger.store.mapper import source_stream
from projections import sources
from tests.support import pg
from tests.support.ledgers import SOURCE, configure, opened, running

T = 1_800_000_000 * SECOND


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with opened(database_url) as found:
        yield found


def bodies(source: SourceState) -> list[Body]:
    recent = source.recent
    return recent._bodies[recent._first : recent._length]


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
    assert bodies(found) == bodies(expected)
    assert msgspec.structs.replace(found, recent=expected.recent) == expected


def snapshot_version(ledger: Ledger) -> int:
    with ledger.connection() as connection:
        row = connection.execute("SELECT version FROM source_states WHERE source = %s", (SOURCE,)).fetchone()
    assert row is not None
    version: int = row[0]
    return version


async def deliver(ledger: Ledger, number: int, gap_seconds: float = 1.0) -> None:
    """Deliveries at instants of their own, so many seconds apart."""
    async with running(ledger) as instance:
        for n in range(number):
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
    assert bodies(after) == bodies(expected)
    assert msgspec.structs.replace(after, recent=expected.recent) == expected


def test_a_source_that_never_started(ledger: Ledger) -> None:
    assert loaded(ledger) == SourceState(SOURCE)


def test_a_configuration_is_appended_only_where_it_is_another(ledger: Ledger) -> None:
    def announce(policy: Policy) -> int:
        configuration = Configuration(policy, Profile.V3, {"n1": Profile.V3})
        announce_start(ledger, "i", "1", {SOURCE: configuration}, T)
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
        sources.write(connection.cursor(), [sources.row_of(older)])
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
