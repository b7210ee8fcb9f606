"""A database put back behind what instances know of it: what they keep in memory goes, what is wrong is made right."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import pytest

from bench._rebuilt import held_against_rebuilt
from ledger.domain.events import Configured
from ledger.errors import LedgerWentBack, StoreUnavailable
from ledger.ingest.clock import Clock
from ledger.reconcile.count_signs import CountSigns
from ledger.reconcile.follower import AgendaFollower
from ledger.reconcile.requests import set_tier
from ledger.reconcile.source_store import SourceStore
from ledger.service.mending import Mending
from ledger.service.went_back import WentBackWatch
from ledger.store import identity
from ledger.store.identity import Identity
from ledger.working_state import followers, looks
from projections.engine.projector import Projector
from projections.models.registry import FOLLOWING
from tests.support.following import checkpoint, connect, follow_all
from tests.support.ledgers import (
    SOURCE,
    Instance,
    all_rows,
    assert_consistent,
    configure,
    items_of,
    opened,
    running,
    wait_until,
)
from tests.support.older_copy import OlderCopy
from tests.support.source_stores import forgets_nobody
from tests.support.tampering import unguarded


@pytest.fixture
def copy(database_url: str) -> Iterator[OlderCopy]:
    copy = OlderCopy(database_url)
    yield copy
    copy.drop()


def read_identity(url: str) -> Identity:
    with connect(url) as connection:
        return identity.read(connection)


def items(*numbers: int, uid: str = "u") -> bytes:
    """As many onlines of a user, with these connIds."""
    return json.dumps([f"{uid}-0-1-{number}-1-1" for number in numbers]).encode()


def again(call: Callable[[], Any]) -> Any:
    """What a call gives once the pool has new connections."""
    found: list[Any] = []

    def tried() -> bool:
        try:
            found.append(call())
        except LedgerWentBack:
            raise
        except StoreUnavailable:
            return False
        return True

    wait_until(tried, "the database answers again")
    return found[0]


def play(url: str, steps: Callable[[Sequence[Instance]], Any], instances: int = 1) -> None:
    """Let instances do something on one database, and look at what they left."""

    async def play() -> None:
        with opened(url) as first, opened(url) as second:
            configure(first)
            async with running(first, "a") as a, running(second, "b") as b:
                await steps([a, b][:instances])
            assert_consistent(first)

    asyncio.run(play())


def test_who_knows_of_lost_commits_begins_anew(database_url: str, copy: OlderCopy) -> None:
    async def steps(instances: Sequence[Instance]) -> None:
        (a,) = instances
        await a.post(items(1))
        before = read_identity(database_url)
        assert (before.went_back_at, before.suspect_after) == (None, None)
        copy.keep()
        await a.post(items(2, 3))
        common = len(all_rows(a.ledger)) - 3
        copy.go_back()
        # As many positions are given again as were lost.
        await a.post(items(7, 8))
        assert items_of(a.ledger) == [f"u-0-1-{number}-1-1" for number in (1, 7, 8)]
        now = read_identity(database_url)
        assert now.ledger == before.ledger
        assert now.epoch != before.epoch
        assert (now.went_back_from, now.went_back_to, now.suspect_after) == (common + 3, common, common)

    play(database_url, steps)


def test_a_head_that_is_the_same_number_again_is_another_ledgers(database_url: str, copy: OlderCopy) -> None:
    async def steps(instances: Sequence[Instance]) -> None:
        a, b = instances
        await a.post(items(1))
        copy.keep()
        # Of as many events each: what is lost, and what is put in its place by another instance.
        await a.post(items(2, 3))
        lost = len(all_rows(a.ledger))
        copy.go_back()
        await b.post(items(4, 5, uid="v"))
        assert len(all_rows(b.ledger)) == lost
        await a.post(items(6))
        assert sorted(items_of(a.ledger)) == ["u-0-1-1-1-1", "u-0-1-6-1-1", "v-0-1-4-1-1", "v-0-1-5-1-1"]

    play(database_url, steps, 2)


def test_what_one_instance_has_read_of_anothers_lost_commits_is_not_gone_on_from(
    database_url: str, copy: OlderCopy
) -> None:
    async def steps(instances: Sequence[Instance]) -> None:
        a, b = instances
        await a.post(items(1))
        copy.keep()
        await b.post(items(2, 3))
        # It reads the user as the other one left them, and commits nothing about them.
        await a.post(items(1, uid="v"))
        copy.go_back()
        await a.post(items(9))
        assert items_of(a.ledger) == ["u-0-1-1-1-1", "u-0-1-9-1-1"]

    play(database_url, steps, 2)


def test_an_idle_instance_finds_out_forgets_and_is_announced_again(database_url: str, copy: OlderCopy) -> None:
    forgotten: list[str] = []

    async def announce() -> None:
        configure(ledger)

    copy.keep()
    with opened(database_url) as ledger:
        configure(ledger)
        watch = WentBackWatch(ledger, [lambda: forgotten.append("rules")], announce)
        asyncio.run(watch.look())
        assert forgotten == []
        copy.go_back()
        again(lambda: asyncio.run(watch.look()))
        asyncio.run(watch.look())
        # What it had said of itself was lost, and is told once more; but only once.
        kinds = [row.kind for row in all_rows(ledger)]
        assert (forgotten, kinds) == (["rules"], ["service_started.v1", "configured.v1"])
        configure(ledger)
        assert [row.kind for row in all_rows(ledger)] == kinds
        assert isinstance(ledger.event(all_rows(ledger)[1]), Configured)


def test_projections_take_what_stands_at_positions_given_again(database_url: str, copy: OlderCopy) -> None:
    projector = Projector(FOLLOWING)

    async def steps(instances: Sequence[Instance]) -> None:
        (a,) = instances
        await a.post(items(1))
        with connect(database_url) as connection:
            follow_all(connection, projector)
        copy.keep()
        await a.post(items(2, 3, 4))
        with connect(database_url) as connection:
            follow_all(connection, projector)
        copy.go_back()
        await a.post(items(7, 8, 9))
        with connect(database_url) as connection:
            follow_all(connection, projector)
            assert projector.astray == []

    play(database_url, steps)
    assert [each for each in held_against_rebuilt(database_url) if each.different] == []


def test_what_was_built_on_lost_events_is_found_and_made_right(database_url: str) -> None:
    """A database whose tables are not of one moment, as an older version or a clumsy repair has left it."""
    with opened(database_url) as ledger, connect(database_url) as connection:
        configure(ledger)
        projector = Projector(FOLLOWING)

        async def post(*bodies: bytes) -> None:
            async with running(ledger) as instance:
                for body in bodies:
                    await instance.post(body)

        asyncio.run(post(items(1), items(1, uid="v")))
        common = len(all_rows(ledger))
        asyncio.run(post(items(2, 3), items(1, uid="lost")))
        follow_all(connection, projector)
        with unguarded(database_url) as cut:
            for table, column in (("seals", "first_position"), ("events", "position")):
                cut.execute(f"DELETE FROM {table} WHERE {column} > {common}".encode())
            cut.commit()
        asyncio.run(post(items(1, uid="w"), items(1, uid="x"), items(1, uid="y")))
        assert read_identity(database_url).suspect_after == common
        follow_all(connection, projector)
        assert set(projector.astray) == set(FOLLOWING)
        assert checkpoint(connection, "sessions").state == "astray"
        epoch = read_identity(database_url).epoch
        mending = Mending(database_url)
        mending.mend(connection, projector.astray)
        assert not projector.round(connection)
        assert projector.astray == []
        now = read_identity(database_url)
        assert now.suspect_after is None
        # Rows were made right, so that the readers who know users by them learn them again.
        assert now.epoch != epoch
        before = ledger.lineage
        assert ledger.look() == before + 1
        assert_consistent(ledger)
        with psycopg.connect(database_url) as reading:
            assert reading.execute("SELECT count(*) FROM current WHERE uid = 'lost'").fetchone() == (0,)
        # Once is enough.
        mending.mend(connection, projector.astray)
        assert read_identity(database_url).epoch == now.epoch
    assert [each for each in held_against_rebuilt(database_url) if each.different] == []


def test_a_leading_instance_judges_nothing_by_a_fence_of_another_ledger(database_url: str, copy: OlderCopy) -> None:
    with opened(database_url) as ledger, opened(database_url) as other:
        configure(ledger)
        copy.keep()
        again(lambda: set_tier(other, "u", "vip", "somebody", Clock().now()))
        source_store = again(lambda: SourceStore(ledger, SOURCE, Clock().now, lambda: 0.0, forgets_nobody))
        follower = AgendaFollower(ledger, [SOURCE], CountSigns(dict))
        states = {SOURCE: source_store.source}
        assert not follower.follow(states)
        assert source_store.head() == 3
        copy.go_back()
        with pytest.raises(LedgerWentBack):
            again(lambda: source_store.append(*()))
        again(lambda: set_tier(other, "v", "vip", "somebody", Clock().now()))
        with pytest.raises(LedgerWentBack):
            again(source_store.follow)
        # Nobody is passed over: where the agenda has got to is what the database says.
        assert not again(lambda: follower.follow(states))
        with connect(database_url) as connection:
            assert looks.of_users(connection, SOURCE, ["u", "v"]).keys() == {"v"}


def test_an_agenda_ahead_of_the_ledger_looks_at_everybody(database_url: str) -> None:
    with opened(database_url) as ledger, connect(database_url) as connection:
        configure(ledger)
        with connection.transaction():
            followers.note_followed(connection.cursor(), 4711)
        AgendaFollower(ledger, [SOURCE], CountSigns(dict))
        assert followers.followed(connection) == 2


def test_what_others_commit_begins_no_new_lineage_but_an_epoch_does(database_url: str) -> None:
    with opened(database_url) as ledger, opened(database_url) as other:
        configure(ledger)
        lineage = ledger.look()
        for _ in range(3):
            set_tier(other, "u", "vip", "somebody", Clock().now())
            assert ledger.look() == lineage
        with connect(database_url) as connection:
            identity.renew(connection.cursor())
        assert ledger.look() == lineage + 1
        assert ledger.look() == lineage + 1
