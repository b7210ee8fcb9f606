"""With its memory of steady watches the follower leaves the agenda as it does without, whatever happens in between."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from psycopg import Connection

from ledger.domain.look import Watch
from ledger.domain.observation import SECOND
from ledger.domain.policy import DEFAULT_POLICY
from ledger.domain.presence import Presence
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Tier
from ledger.ingest import erasing, overrides
from ledger.ingest.announce import Configuration, announce_start
from ledger.ingest.append import append
from ledger.ingest.draft import Draft, read_webhook
from ledger.reconcile.count_signs import CountSigns
from ledger.reconcile.follower import AgendaFollower
from ledger.reconcile.requests import set_tier
from ledger.reconcile.source_store import SourceStore
from ledger.simulator.sender import encode
from ledger.store.ledger import Ledger
from ledger.store.mapper import Recorded
from ledger.working_state import canaries, erasures, followers, looks
from ledger.working_state.canaries import CanaryKey
from projections.models import current
from tests.support.ledgers import SEAL_KEY, SOURCE, configure
from tests.support.source_stores import Time, ask

VIP = 18 * SECOND
NUMBERS = count(1)
USERS = ("alice", "bob", "carol-1", "用户")

users = st.sampled_from(USERS)
some_users = st.sets(users, min_size=1).map(lambda names: tuple(sorted(names)))
said = st.sampled_from(
    ["online", "online", "online", "offline", "offline", "unknown offline", "late offline", "online before"]
)


Did = tuple[str, tuple[Any, ...]]


def did(name: str, *args: st.SearchStrategy[Any]) -> st.SearchStrategy[Did]:
    """A method of the world, and what it is called with."""
    return st.tuples(st.just(name), st.tuples(*args))


webhook = did("webhook", users, said)
happens = st.one_of(
    webhook,
    webhook,
    webhook,
    webhook,
    did("time_passes", st.sampled_from([0.0, 0.5, 3.0, 20.0, 299.0, 899.0, 901.0, 4000.0])),
    did("is_looked_at", some_users, st.booleans()),
    did("look_fails", users, st.sampled_from([1.0, 5000.0])),
    did("has_a_tier", users, st.sampled_from(["vip", "normal", "cold", None])),
    did("is_configured", st.sampled_from([20.0, 300.0]), st.sampled_from([Profile.V2_1, Profile.V3])),
    did("is_erased", users),
    did("erasures_end"),
    did("is_canary", users, st.booleans()),
    did("boots"),
    did("keeps_a_copy"),
    did("goes_back"),
    did("another_follows"),
)


class World:
    """A ledger whose agenda is followed with the memory, and each time without, from the same state."""

    def __init__(self, ledger: Ledger) -> None:
        configure(ledger, nodes=("n1",))
        self.ledger = ledger
        self.time = Time()
        self.prefix = f"{next(NUMBERS)}/"
        self.follower = AgendaFollower(ledger, [SOURCE], CountSigns(dict))
        self.store = SourceStore(ledger, SOURCE, self.time.now, self.time.seconds, self.forget)
        self.copy: tuple[list[Any], int] | None = None
        self.open: dict[str, int] = {}
        self.conn_ids = count(1)
        self.erasures_end()
        with ledger.connection() as connection:
            canaries.begin(connection.cursor(), [], self.time.at)

    def forget(self, uids: Any) -> None:
        self.follower.forget(SOURCE, uids)

    def uid(self, name: str) -> str:
        return self.prefix + name

    def follow(self) -> None:
        """Hear all there is, twice: as one that remembers nothing does, then as this one does."""
        states = {SOURCE: self.store.source}
        with self.ledger.connection() as connection:
            before = stored(connection)
            AgendaFollower(self.ledger, [SOURCE], CountSigns(dict)).follow(states)
            without = stored(connection)
            restore(connection, before)
            assert not self.follower.follow(states)
            assert stored(connection) == without
        self.store.follow()

    def webhook(self, name: str, said: str) -> None:
        uid, at, conn_id = self.uid(name), self.time.at, self.open.get(name) or next(self.conn_ids)
        if said == "online before":
            at -= 40 * SECOND
        elif said in ("unknown offline", "late offline"):
            conn_id = next(self.conn_ids)
        online = said.startswith("online")
        self.open.pop(name, None)
        if online:
            self.open[name] = conn_id
        item = f"{uid}-0-{int(online)}-{conn_id}-{int(online)}-{int(online)}"
        if said == "unknown offline":
            item = f"{uid}-0-0-{conn_id}-1-1"
        webhook = read_webhook(f"d{next(NUMBERS)}", SOURCE, "n1", at, encode((item,)), 65536)

        def decide(draft: Draft) -> Iterator[Recorded]:
            yield from draft.add(webhook)

        append(self.ledger, {SOURCE: self.store.source}, (uid,), decide)

    def time_passes(self, seconds: float) -> None:
        self.time.passes(seconds)

    def is_looked_at(self, names: tuple[str, ...], sees: bool) -> None:
        uids = [self.uid(name) for name in names]
        rows = {self.uid(name): {0: 1} for name in names if name in self.open and sees}
        self.store.judge_rows(ask(self.store, self.time), self.store.watches_for(uids), rows)

    def look_fails(self, name: str, seconds: float) -> None:
        uid = self.uid(name)
        self.store.put_back({uid: Watch(0)}, self.time.at + round(seconds * SECOND))

    def has_a_tier(self, name: str, tier: Tier | None) -> None:
        # What was said before is heard before: see `test_a_tier_counts_from_its_event_on`.
        self.follow()
        set_tier(self.ledger, self.uid(name), tier, "ops", self.time.at)

    def is_configured(self, normal_seconds: float, profile: Profile) -> None:
        policy = replace(DEFAULT_POLICY, tier_normal_seconds=normal_seconds)
        announced = {SOURCE: Configuration(policy, profile, {"n1": profile})}
        announce_start(self.ledger, "i", "0", announced, self.time.at)

    def is_erased(self, name: str) -> None:
        try:
            erasing.erase(self.ledger, self.uid(name), erasing.Order("asked", "ops"), [SEAL_KEY], self.time.at)
        except erasing.NeverSeen:
            return
        self.open.pop(name, None)

    def erasures_end(self) -> None:
        with self.ledger.connection() as connection, connection.transaction():
            for row in erasures.due(connection.cursor(), 0.0):
                erasures.finish(connection.cursor(), row)

    def is_canary(self, name: str, still: bool) -> None:
        with self.ledger.connection() as connection, connection.transaction():
            cursor, key = connection.cursor(), CanaryKey(self.uid(name), SOURCE, "n1")
            canaries.begin(cursor, [(key, 60.0)], self.time.at)
            looks.remove(cursor, [key.uid])
            if not still:
                canaries.begin(cursor, [], self.time.at)

    def boots(self) -> None:
        self.store.sweep_page("n1", "r", "", retired=True, seen=False)

    def keeps_a_copy(self) -> None:
        with self.ledger.connection() as connection:
            self.copy = stored(connection)

    def goes_back(self) -> None:
        """To an older agenda. (Its ledger would go back as well; of that nothing is remembered here.)"""
        if self.copy is not None:
            with self.ledger.connection() as connection:
                restore(connection, self.copy)

    def another_follows(self) -> None:
        AgendaFollower(self.ledger, [SOURCE], CountSigns(dict)).follow({SOURCE: self.store.source})


def stored(connection: Connection[Any]) -> tuple[list[Any], int]:
    """The agenda, and how far it has heard."""
    return connection.execute("SELECT * FROM looks ORDER BY uid, source").fetchall(), followers.followed(connection)


def restore(connection: Connection[Any], kept: tuple[list[Any], int]) -> None:
    rows, position = kept
    with connection.transaction():
        connection.execute("DELETE FROM looks")
        for row in rows:
            connection.execute(f"INSERT INTO looks VALUES ({', '.join(['%s'] * len(row))})".encode(), row)
        followers.note_followed(connection.cursor(), position)


def history(*happened: Did) -> list[tuple[Did, bool]]:
    """What happened, each heard at once."""
    return [(each, True) for each in happened]


ONLINE: Did = ("webhook", ("alice", "online"))
OFFLINE: Did = ("webhook", ("alice", "offline"))
LATE: Did = ("webhook", ("alice", "late offline"))
ONLINE_BEFORE: Did = ("webhook", ("alice", "online before"))
SEEN: Did = ("is_looked_at", (("alice",), True))
FAR: Did = ("look_fails", ("alice", 5000.0))
A_MINUTE: Did = ("time_passes", (60.0,))
VIP_NOW: Did = ("has_a_tier", ("alice", "vip"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(happened=st.lists(st.tuples(happens, st.booleans()), min_size=8, max_size=30))
@example(history(ONLINE, FAR, ONLINE))
@example(history(ONLINE, ("is_looked_at", (("alice",), False)), ONLINE))
@example([*history(ONLINE), (ONLINE, False), *history(("is_looked_at", (("alice",), False)), ONLINE)])
@example(history(ONLINE, OFFLINE, ("time_passes", (899.0,)), LATE, ("time_passes", (3.0,)), SEEN, ONLINE))
@example(history(ONLINE, ("boots", ()), ONLINE, ONLINE))
@example(history(ONLINE, FAR, ONLINE, A_MINUTE, VIP_NOW, ONLINE_BEFORE))
@example([*history(ONLINE, FAR, ONLINE, A_MINUTE), (VIP_NOW, False), *history(("another_follows", ()), ONLINE_BEFORE)])
@example(history(ONLINE, SEEN, ONLINE, ("is_configured", (20.0, Profile.V3)), ("time_passes", (3.0,)), ONLINE))
@example([*history(ONLINE), (("is_canary", ("alice", False)), False), *history(ONLINE)])
@example([*history(ONLINE), (("is_erased", ("alice",)), False), *history(ONLINE)])
@example([*history(ONLINE), (("is_erased", ("alice",)), False), (("erasures_end", ()), False), *history(ONLINE)])
@example(history(ONLINE, FAR, ("keeps_a_copy", ()), A_MINUTE, ONLINE, ("goes_back", ())))
def test_the_agenda_is_the_same_with_the_memory_and_without(ledger: Ledger, happened: list[tuple[Did, bool]]) -> None:
    world = World(ledger)
    for (name, args), is_followed in happened:
        note(f"{name}{args}")
        getattr(world, name)(*args)
        if is_followed:
            world.follow()
    world.follow()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of whom the follower asks PostgreSQL."""
    uids: list[str] = []
    load = current.load_outlines

    def noted(connection: Connection[Any], wanted: Sequence[str]) -> Mapping[str, Presence]:
        uids.extend(wanted)
        return load(connection, wanted)

    monkeypatch.setattr(current, "load_outlines", noted)
    return uids


def test_of_whom_a_webhook_changes_nothing_nobody_is_asked(ledger: Ledger, asked: list[str]) -> None:
    world = World(ledger)
    states = {SOURCE: world.store.source}

    def hears(said: str) -> bool:
        asked.clear()
        world.webhook("alice", said)
        world.follower.follow(states)
        assert set(asked) <= {world.uid("alice")}
        return bool(asked)

    assert hears("online")
    world.time_passes(1.0)
    assert not hears("online")
    assert not hears("offline")
    assert hears("online before")
    assert hears("unknown offline")
    world.time_passes(1.0)
    assert not hears("online")
    # It might have set a tier.
    order = overrides.OverrideOrder("offline", "lost", "ops", 3600.0, until_evidence=False)
    overrides.put(ledger, world.uid("alice"), order, world.time.at)
    assert hears("online")
    assert not hears("online")
    world.time_passes(901.0)
    assert hears("online")
    assert not hears("offline")


def test_a_tier_counts_from_its_event_on(ledger: Ledger) -> None:
    """Without the memory a webhook before it that is not heard yet would bring the look as much sooner.

    Either way it is within the tier's bound of the moment at which somebody chose it.
    """
    world = World(ledger)
    states = {SOURCE: world.store.source}
    due: list[int] = []
    for remembers in (True, False):
        world.webhook("alice", "online")
        world.follower.follow(states)
        world.look_fails("alice", 200.0)
        world.webhook("alice", "online")
        world.follower.follow(states)
        world.time_passes(1.0)
        world.webhook("alice", "online")
        world.time_passes(4.0)
        set_tier(ledger, world.uid("alice"), "vip", "ops", world.time.at)
        follower = world.follower if remembers else AgendaFollower(ledger, [SOURCE], CountSigns(dict))
        follower.follow(states)
        with ledger.connection() as connection:
            due.append(looks.of_users(connection, SOURCE, [world.uid("alice")])[world.uid("alice")].due_at)
        due[-1] -= world.time.at
        set_tier(ledger, world.uid("alice"), None, "ops", world.time.at)
        follower.follow(states)
    assert due == [VIP, VIP - 4 * SECOND]
