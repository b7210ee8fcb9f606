"""Sources with rules of their own, also imported: each user is shown by those of their sources, now and as of then."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger.domain.as_of import Belief
from ledger.domain.events import Status
from ledger.domain.explain import explain
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import SourceDark
from ledger.http.presence import summary_body
from ledger.ingest.announce import Configuration, announce_start
from ledger.ingest.append import append
from ledger.ingest.clock import Clock
from ledger.slices.importing import import_slice
from ledger.slices.reading import SliceFile
from ledger.store.ledger import Ledger
from projections.models.shown import Rules
from projections.queries import history, past
from projections.queries.evidence import gather
from projections.queries.evidence_rows import RecordedHistory
from projections.queries.listing import Filter
from projections.queries.reader import Read
from tests.support import pg
from tests.support.claims import problems
from tests.support.ledgers import configure, running
from tests.support.readers import reading
from tests.support.reconciler import Reconciler
from tests.support.slices import MAPPER, slice_of, written

HOUR = 3600.0
T: Instant = 1_000_000_000 * SECOND
"""When the imported users came and went: long before anything that is recorded here."""


def configured(ledger: Ledger, **grace_seconds: float) -> None:
    """An instance starts with these sources."""
    configurations = {
        name: Configuration(Policy(grace_seconds=seconds), Profile.V2_2, {"n1": Profile.V2_2})
        for name, seconds in grace_seconds.items()
    }
    announce_start(ledger, "i", "0", configurations, Clock().now())


def went(ledger: Ledger, **users: str) -> None:
    """Users by name, each in a source: they came, and all but `online` went."""

    async def post() -> None:
        async with running(ledger) as instance:
            for number, (uid, source) in enumerate(users.items(), 1):
                await instance.post(f'["{uid}-0-1-{number}-1-1"]'.encode(), source=source)
                if not uid.startswith("online"):
                    await instance.post(f'["{uid}-0-0-{number}-0-0"]'.encode(), source=source)

    asyncio.run(post())


def goes_dark(ledger: Ledger, name: str) -> None:
    now = Clock().now()
    append(ledger, {name: None}, (), lambda draft: iter([draft.append_to_source(name, SourceDark(at=now, since=now))]))


def live(url: str, *uids: str) -> tuple[Read, Read, dict[str, Any]]:
    """What is answered about users at once, by a list and in sum."""

    async def run() -> tuple[Read, Read, dict[str, Any]]:
        async with reading(url) as reader:
            page = await reader.page(Filter(None, None, None), None, 100)
            return await reader.many(uids), page.read, msgspec.to_builtins(summary_body(await reader.summary()))

    return asyncio.run(run())


def rules(ledger: Ledger, position: int) -> Rules:
    with ledger.connection() as connection:
        return history.rules_at(connection, MAPPER, position)


def statuses(read: Read) -> list[str]:
    return [body.decode().split('"status":"')[1].partition('"')[0] for body in read.bodies]


@pg.on_every_server
def test_each_user_is_shown_by_the_rules_of_their_source(ledger: Ledger, database_url: str) -> None:
    configured(ledger, a_b=HOUR, axb=0.0, dark=0.0, plain=0.0)
    users = {"gone": "axb", "graceful": "a_b", "lost": "dark", "online1": "dark", "online2": "plain"}
    went(ledger, **users)
    goes_dark(ledger, "dark")
    many, page, summary = live(database_url, *users, "nobody")
    assert statuses(many) == ["offline", "online", "unknown", "unknown", "online", "unknown"]
    # A list derives everybody's answer; here those of the plain sources had been made before.
    assert page.bodies == many.bodies[:-1]
    assert summary["users"]["offline"] == 1
    with ledger.connection() as connection:
        assert past.read(connection, MAPPER, [*users, "nobody"], many.made).bodies == many.bodies
    assert rules(ledger, many.made.position).derived == ["a_b", "dark"]


@pg.on_every_server
def test_a_few_who_are_unknown_are_found_on_one_page(ledger: Ledger, database_url: str) -> None:
    configured(ledger, plain=0.0, dark=0.0)
    went(ledger, **{f"online{number}": "plain" for number in range(10)}, z_lost="dark", z_online="dark")

    async def unknown() -> tuple[list[str], str | None]:
        async with reading(database_url) as reader:
            page = await reader.page(Filter("unknown", None, None), None, 3)
            return [json.loads(body + b"}")["uid"] for body in page.read.bodies], page.last_uid

    assert asyncio.run(unknown()) == ([], None)
    goes_dark(ledger, "dark")
    assert asyncio.run(unknown()) == (["z_lost", "z_online"], None)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A slice of a source named `a` with a grace period; `v` came, `u` came and went, then the source went dark.

    What it begins with are states.
    """
    world = Reconciler(Profile.V2_2, policy=Policy(grace_seconds=HOUR), at=T)
    world.hear("n1", "u-0-1-1-1-1", "v-0-1-2-1-1")
    world.pass_time(100.0)
    world.hear("n1", "u-0-0-1-0-0")
    world.pass_time(100.0)
    world.append(SourceDark(at=world.at, since=world.at))
    world.pass_time(100.0)
    start = len(world.kept)
    world.hear("n1", "w-0-1-3-1-1")
    return written(slice_of(world.kept, start), tmp_path / "foreign")


def brought(ledger: Ledger, path: Path) -> None:
    import_slice(ledger, SliceFile(path), {"main": "a"}, lambda *_: None)


def test_an_imported_source_rules_nobody_but_its_own_users(ledger: Ledger, database_url: str, foreign: Path) -> None:
    configured(ledger, own=0.0)
    brought(ledger, foreign)
    went(ledger, gone="own", online="own")
    many, page, _ = live(database_url, "gone", "online", "u", "v")
    # What is known of the imported ones ends with the slice: it was dark then.
    assert statuses(many) == ["offline", "online", "unknown", "unknown"]
    assert set(many.bodies) < set(page.bodies)
    with ledger.connection() as connection:
        assert past.read(connection, MAPPER, ["gone", "online", "u", "v"], many.made).bodies == many.bodies
    # Its darkness costs nobody else the answer that is ready.
    assert rules(ledger, many.made.position).derived == ["a"]
    # A start changes nothing of that.
    configured(ledger, own=0.0)
    assert statuses(live(database_url, "gone")[0]) == ["offline"]


def known(ledger: Ledger, uid: str, seconds: float) -> Belief:
    """What all that is recorded says of a user at an instant of the imported time."""
    at = T + round(seconds * SECOND)
    with ledger.connection() as connection:
        return history.as_of(connection, MAPPER, [uid], at, history.head(connection).position).belief(uid, at)


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize(
    ("uid", "seconds", "status"),
    [
        # Of what had changed before the state that the slice begins with nothing is left.
        ("u", 50, "unknown"),
        # The grace period of its source, and no darkness before it began.
        ("u", 150, "online"),
        ("v", 150, "online"),
        ("v", 250, "unknown"),
        ("w", 250, "unknown"),
    ],
)
def test_with_hindsight_imported_users_are_judged_as_where_they_came_from(
    ledger: Ledger, foreign: Path, empty: bool, uid: str, seconds: float, status: Status
) -> None:
    if not empty:
        configure(ledger, sources=("own",))
    brought(ledger, foreign)
    assert known(ledger, uid, seconds).shown.status == status


def test_an_explanation_of_an_instant_before_the_import_says_so(ledger: Ledger, foreign: Path) -> None:
    configure(ledger, sources=("own",))
    brought(ledger, foreign)
    at = T + 150 * SECOND
    with ledger.connection() as connection:
        asked = RecordedHistory(connection, MAPPER)
        rows = asked.at(range(1, asked.head() + 1))
        then = explain(gather(asked, "v", at, asked.position_at(at)))
        today = explain(gather(asked, "v", at, asked.head()))
    assert (then.shown.status, today.shown.status) == ("unknown", "online")
    [told] = [statement for statement in then.statements if statement.code == "imported_later"]
    assert told.params["received_at"] == T
    assert not list(problems(rows, then))


def test_however_long_an_imported_history_is_all_of_it_has_arrived(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Reconciler(Profile.V2_2, at=T)
    for number in range(200):
        online = 1 - number % 2
        world.hear("n1", f"u-0-{online}-{number // 2 + 1}-{online}-{online}")
        world.pass_time(60.0)
    configure(ledger, sources=("own",))
    brought(ledger, written(slice_of(world.kept), tmp_path / "long"))
    monkeypatch.setattr(history, "MAX_SHARED_EVENTS", 60)
    for number in (0, 49, 50, 120, 199):
        assert known(ledger, "u", number * 60.0 + 1).presence.version == number + 1
    assert known(ledger, "u", -1.0).presence.version == 0
