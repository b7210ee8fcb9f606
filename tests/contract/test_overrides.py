"""Operators' words in a ledger: put, ended by each of its ends, and what questions, lists, counts and rebuilds show."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.observation import SECOND, Instant
from ledger.domain.override_events import OverrideEnded, OverrideSet, Word
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.http.presence import summary_body
from ledger.ingest import overrides
from ledger.ingest.announce import Configuration, announce_start
from ledger.ingest.clock import Clock
from ledger.ingest.overrides import NeverObserved, NoOverride, OverrideOrder, Put
from ledger.store.ledger import Ledger
from projections.engine import rebuild
from projections.models import current
from projections.models.rebuild_current import Compared, RebuildCurrent
from projections.queries.listing import Filter
from projections.queries.reader import MIN_LARGE_UIDS, PresenceReader
from tests.support import pg
from tests.support.ledgers import SOURCE, all_rows, assert_consistent, configure, running
from tests.support.readers import one, reading

OTHERS = [f"u{n:03}" for n in range(MIN_LARGE_UIDS)]
ON, OFF = "on", "off"


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    """Of `on` and everybody else a connection is open, of `off` none."""
    configure(ledger)
    asyncio.run(post(ledger, f"{ON}-0-1-1-1-1", f"{OFF}-0-1-2-1-1", f"{OFF}-0-0-2-0-0", *_online(OTHERS)))
    return ledger


def _online(uids: list[str]) -> list[str]:
    return [f"{uid}-0-1-{number}-1-1" for number, uid in enumerate(uids, 10)]


async def post(ledger: Ledger, *items: str) -> None:
    async with running(ledger) as instance:
        await instance.post(json.dumps(items).encode())


def now() -> Instant:
    return Clock().now()


def say(ledger: Ledger, uid: str, status: Word, seconds: float = 3600.0, *, until_evidence: bool = False) -> Put:
    return overrides.put(ledger, uid, OverrideOrder(status, "phone lost", "ops", seconds, until_evidence), now())


def told(ledger: Ledger, uid: str) -> list[Any]:
    """What is on record of operators' words about a user."""
    found = [ledger.event(row) for row in all_rows(ledger) if row.stream == f"user:{uid}"]
    return [event for event in found if isinstance(event, OverrideSet | OverrideEnded)]


def ask(url: str, at: Instant, question: Callable[[PresenceReader], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with reading(url, lambda: at) as reader:
            return await question(reader)

    return asyncio.run(run())


def shown(url: str, at: Instant) -> dict[str, tuple[str, str]]:
    """Status and kind of cause of `on` and `off`, the same by every way of asking."""

    async def question(reader: PresenceReader) -> list[list[bytes]]:
        single = [(await one(reader, uid))[1] for uid in (ON, OFF)]
        large = (await reader.many([ON, OFF, *OTHERS])).bodies[:2]
        return [single, (await reader.many([ON, OFF])).bodies, large]

    single, *others = ask(url, at, question)
    assert all(other == single for other in others)
    found = [json.loads(body + b"}") for body in single]
    assert [each["devices"][0]["status"] for each in found] == ["online", "offline"]
    return {each["uid"]: (each["status"], each["cause"]["kind"]) for each in found}


@pg.on_every_server
@pytest.mark.parametrize("grace_seconds", [0.0, 1.0])
def test_whoever_asks_is_shown_it_until_its_very_end(ledger: Ledger, database_url: str, grace_seconds: float) -> None:
    configuration = Configuration(Policy(grace_seconds=grace_seconds), Profile.V2_2, {"n1": Profile.V2_2})
    announce_start(ledger, "j", "0", {SOURCE: configuration}, now())
    expires_at = say(ledger, ON, "offline").event.expires_at
    say(ledger, OFF, "online", 7200.0)
    assert shown(database_url, expires_at - 1) == {ON: ("offline", "override"), OFF: ("online", "override")}
    assert shown(database_url, expires_at) == {ON: ("online", "webhook"), OFF: ("online", "override")}
    assert shown(database_url, expires_at + 7200 * SECOND) == {ON: ("online", "webhook"), OFF: ("offline", "webhook")}


async def _pages(reader: PresenceReader, wanted: Filter) -> list[str]:
    page = await reader.page(wanted, None, 1_000)
    return [json.loads(body + b"}")["uid"] for body in page.read.bodies]


def test_lists_and_counts_show_it(ledger: Ledger, database_url: str) -> None:
    expires_at = say(ledger, ON, "offline").event.expires_at
    say(ledger, OFF, "online")

    async def question(reader: PresenceReader) -> tuple[list[str], list[str], list[str], dict[str, int]]:
        summary = msgspec.to_builtins(summary_body(await reader.summary()).users)
        by_status = [await _pages(reader, Filter(status, None, None)) for status in ("online", "offline", "unknown")]
        return (*by_status, summary)

    online, offline, unknown, counted = ask(database_url, expires_at - 1, question)
    assert (online, offline, unknown) == (sorted([OFF, *OTHERS]), [ON], [])
    assert counted == {"online": len(OTHERS) + 1, "offline": 1, "unknown": 0}
    online, offline, unknown, counted = ask(database_url, expires_at + SECOND, question)
    assert (online, offline, unknown) == (sorted([ON, *OTHERS]), [OFF], [])
    assert counted == {"online": len(OTHERS) + 1, "offline": 1, "unknown": 0}


def test_another_word_takes_its_place(ledger: Ledger) -> None:
    say(ledger, ON, "offline")
    found = say(ledger, ON, "online", 60.0, until_evidence=True)
    first, replaced, second = told(ledger, ON)
    assert (replaced.why, replaced.by, replaced.status, replaced.status_after) == (
        "replaced",
        "ops",
        "offline",
        "online",
    )
    assert second == found.event
    assert (second.reason, second.by, second.until_evidence) == ("phone lost", "ops", True)
    assert second.expires_at - second.received_at == 60 * SECOND
    assert first.received_at <= replaced.received_at <= second.received_at
    assert_consistent(ledger)


def test_somebody_ends_it_once(ledger: Ledger) -> None:
    say(ledger, ON, "offline")
    position = overrides.end(ledger, ON, "on-call", now())
    assert all_rows(ledger)[-1].position == position
    assert [(each.why, each.by) for each in told(ledger, ON)[1:]] == [("deleted", "on-call")]
    for uid in (ON, OFF, "nobody"):
        with pytest.raises(NoOverride):
            overrides.end(ledger, uid, "on-call", now())
    assert_consistent(ledger)


def test_nobody_can_speak_of_a_user_who_was_never_observed(ledger: Ledger) -> None:
    before = len(all_rows(ledger))
    with pytest.raises(NeverObserved):
        say(ledger, "nobody", "online")
    assert len(all_rows(ledger)) == before


def test_its_end_by_time_is_put_on_record_as_of_when_it_was(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    said = say(ledger, ON, "offline", 1.0).event
    say(ledger, OFF, "online")
    later = said.expires_at
    assert overrides.end_those_over(ledger, lambda: later - 1) == 0
    with pytest.raises(NoOverride):
        overrides.end(ledger, ON, "ops", later)
    assert overrides.end_those_over(ledger, lambda: later) == 1
    assert overrides.end_those_over(ledger, lambda: later) == 0
    [_, ended] = told(ledger, ON)
    assert (ended.why, ended.by, ended.received_at) == ("expired", None, said.expires_at)
    assert [each.uid for each in current.overridden(connection, 0)] == [OFF]
    assert_consistent(ledger)


def test_who_replaces_one_that_is_over_ends_nothing_but_that(ledger: Ledger) -> None:
    said = say(ledger, ON, "offline", 1.0).event
    order = OverrideOrder("online", "back again", "ops", 60.0, until_evidence=False)
    overrides.put(ledger, ON, order, said.expires_at + SECOND)
    assert [(each.why, each.by) for each in told(ledger, ON) if isinstance(each, OverrideEnded)] == [("expired", None)]


def test_one_that_was_said_meanwhile_is_not_ended(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    say(ledger, ON, "offline")
    monkeypatch.setattr(current, "over", lambda *_: [ON, OFF])
    assert overrides.end_those_over(ledger, now) == 0


def test_newer_evidence_ends_it_in_its_own_commit(ledger: Ledger, database_url: str) -> None:
    say(ledger, ON, "offline", until_evidence=True)
    say(ledger, OFF, "online")
    head = len(all_rows(ledger))
    asyncio.run(post(ledger, f"{ON}-0-1-1-1-1", f"{OFF}-0-1-3-1-1", f"{OFF}-0-0-3-0-0"))
    kinds = [row.kind for row in all_rows(ledger)[head:]]
    assert kinds == ["delivery_received.v1", *["webhook_observed.v2"] * 3, "override_ended.v1"]
    assert [each.why for each in told(ledger, ON)[1:]] == ["evidence"]
    assert shown(database_url, now()) == {ON: ("online", "webhook"), OFF: ("online", "override")}
    assert_consistent(ledger)


def test_a_rebuild_makes_the_same_and_who_has_none_is_stored_as_ever(
    ledger: Ledger, database_url: str, connection: Connection[TupleRow]
) -> None:
    say(ledger, ON, "offline")
    say(ledger, OFF, "online")
    overrides.end(ledger, OFF, "ops", now())
    rows = connection.execute("SELECT * FROM current ORDER BY uid").fetchall()
    with rebuild.alone(database_url, "current") as alone:
        compared = RebuildCurrent(alone, database_url).run(lambda *_: None)
    assert compared == Compared(len(all_rows(ledger)), 0, [])
    assert connection.execute("SELECT * FROM current ORDER BY uid").fetchall() == rows
    states: dict[str, bytes] = dict(connection.execute("SELECT uid, state FROM current", binary=True))
    # An array of eight, and of ten where there is, or was, a word.
    assert {uid: state[0] for uid, state in states.items() if uid in (ON, OFF, OTHERS[0])} == {
        ON: 0x9A,
        OFF: 0x9A,
        OTHERS[0]: 0x98,
    }
    with ledger.connection() as reading_back:
        for uid, presence in current.load(reading_back, [ON, OFF, OTHERS[0]]).items():
            assert current.encode_state(presence) == states[uid]
