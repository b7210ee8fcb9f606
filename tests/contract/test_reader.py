"""Reading presences: single reads that share a query, lists and counts that agree with each other."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import psycopg
import pytest

from ledger.domain.event_types import SourceEvent
from ledger.domain.events import Configured
from ledger.domain.instants import optional
from ledger.domain.look import Watch
from ledger.domain.observation import SECOND
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import NodeDown, SourceDark, SourceLit
from ledger.errors import StoreUnavailable
from ledger.http.presence import summary_body
from ledger.ingest.announce import Configuration, announce_start
from ledger.ingest.append import append
from ledger.ingest.clock import Clock
from ledger.store.ledger import Ledger
from ledger.working_state import looks
from ledger.working_state.sources import SourceUnreadable
from projections.models.shown import AnswerPoint
from projections.queries.listing import Filter
from projections.queries.reader import MAX_LARGE_READS, MAX_SHARED_UIDS, MIN_LARGE_UIDS, PresenceReader
from tests.support import newer, pg
from tests.support.ledgers import OF_THIS_DATABASE, SOURCE, configure, running, wait_until
from tests.support.readers import one, reading

USERS = 250
ONLINE = [f"u{n:03}" for n in range(USERS) if n % 5]
OFFLINE = [f"u{n:03}" for n in range(USERS) if n % 5 == 0]


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    """Users of whom a fifth went away, on two device flags and two nodes."""
    configure(ledger)
    asyncio.run(_fill(ledger))
    return ledger


async def _fill(ledger: Ledger) -> None:
    items = [f"u{n:03}-{n % 2}-1-{n + 1}-1-1" for n in range(USERS)]
    gone = [f"u{n:03}-{n % 2}-0-{n + 1}-0-0" for n in range(0, USERS, 5)]
    async with running(ledger) as instance:
        await instance.post(json.dumps(items[:125]).encode(), node="n1")
        await instance.post(json.dumps(items[125:]).encode(), node="n2")
        await instance.post(json.dumps(gone).encode(), node="n1")


def ask(url: str, question: Callable[[PresenceReader], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with reading(url) as reader:
            return await question(reader)

    return asyncio.run(run())


def shown(body: bytes) -> dict[str, Any]:
    presence: dict[str, Any] = json.loads(body + b"}")
    return presence


@pg.on_every_server
def test_reads_that_wait_together_are_answered_each_with_its_own(ledger: Ledger, database_url: str) -> None:
    asked = [*ONLINE, *OFFLINE, "nobody", "a\0b", "\ud800", ONLINE[0]]
    assert len(asked) > MAX_SHARED_UIDS

    async def question(reader: PresenceReader) -> list[tuple[AnswerPoint, bytes]]:
        return await asyncio.gather(*(one(reader, uid) for uid in asked if uid != "\ud800"))

    answers = ask(database_url, question)
    assert {made.position for made, _ in answers} == {ledger.events_recorder.max_notification_id()}
    found = [shown(body) for _, body in answers]
    assert [each["uid"] for each in found] == [uid for uid in asked if uid != "\ud800"]
    expected = ["online"] * len(ONLINE) + ["offline"] * len(OFFLINE) + ["unknown", "unknown", "online"]
    assert [each["status"] for each in found] == expected


def test_a_read_after_a_commit_sees_it(ledger: Ledger, database_url: str) -> None:
    async def question(reader: PresenceReader) -> list[str]:
        seen = []
        async with running(ledger) as instance:
            for n in range(10):
                online = n % 2 == 0
                await instance.post(f'["w-0-{int(online)}-{n // 2}-{int(online)}-{int(online)}"]'.encode())
                seen.append(shown((await one(reader, "w"))[1])["status"])
        return seen

    assert ask(database_url, question) == ["online", "offline"] * 5


def test_many_are_answered_in_the_order_asked(ledger: Ledger, database_url: str) -> None:
    asked = [OFFLINE[3], "nobody", ONLINE[5], OFFLINE[3]]
    read = ask(database_url, lambda reader: reader.many(asked))
    assert [shown(body)["uid"] for body in read.bodies] == asked
    assert [shown(body)["status"] for body in read.bodies] == ["offline", "unknown", "online", "offline"]


T = 1_800_000_000 * SECOND
VERIFIED = {ONLINE[0]: T, ONLINE[1]: T + 1, OFFLINE[0]: T + 2}


def look_agreed(ledger: Ledger) -> None:
    """A look agreed with each of `VERIFIED`; two sources were asked about the second, who is in one of them."""
    with ledger.connection() as connection:
        cursor = connection.cursor()
        looks.write(cursor, SOURCE, {uid: Watch(0, None, at) for uid, at in VERIFIED.items()})
        looks.write(cursor, "other", {ONLINE[1]: Watch(0, None, T), ONLINE[2]: Watch(0)})


@pg.on_every_server
@pytest.mark.parametrize("grace_seconds", [0.0, 3600.0])
def test_every_answer_says_when_a_look_last_agreed(ledger: Ledger, database_url: str, grace_seconds: float) -> None:
    configuration = Configuration(Policy(grace_seconds=grace_seconds), Profile.V2_2, {"n1": Profile.V2_2})
    announce_start(ledger, "j", "0", {SOURCE: configuration}, Clock().now())
    look_agreed(ledger)
    asked, everybody = [*VERIFIED, ONLINE[2], "nobody"], [*OFFLINE, *ONLINE]
    assert len(asked) < MIN_LARGE_UIDS <= len(everybody)

    async def question(reader: PresenceReader) -> list[list[bytes]]:
        # The first that is asked meets rules that the reader does not know yet.
        large = (await reader.many(asked + everybody)).bodies
        single = await asyncio.gather(*(one(reader, uid) for uid in asked))
        listed = await reader.page(Filter(None, None, None), None, 10)
        return [[body for _, body in single], (await reader.many(asked)).bodies, large, listed.read.bodies]

    single, many, large, listed = ask(database_url, question)
    assert single == many == large[: len(asked)]
    assert [shown(body)["uid"] for body in large[len(asked) :]] == everybody
    expected = [optional(at) for at in VERIFIED.values()] + [None, None]
    assert [shown(body)["verified_at"] for body in single] == expected
    assert [shown(body)["version"] for body in single] == [1, 1, 2, 1, 0]
    found = {shown(body)["uid"]: body for body in listed}
    assert [found[uid] for uid in sorted(VERIFIED)] == [single[asked.index(uid)] for uid in sorted(VERIFIED)]
    for body in (*single, *many, *listed):
        assert body.count(b'"verified_at"') == body.count(b'"version"') == 1


async def pages(reader: PresenceReader, wanted: Filter) -> list[str]:
    uids: list[str] = []
    after = None
    while True:
        page = await reader.page(wanted, after, 60)
        uids += [shown(body)["uid"] for body in page.read.bodies]
        after = page.last_uid
        if after is None:
            return uids


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(None, None, None), sorted(ONLINE + OFFLINE)),
        (Filter("online", None, None), ONLINE),
        (Filter("offline", None, None), OFFLINE),
        (Filter("unknown", None, None), []),
        (Filter(None, 1, None), [uid for uid in sorted(ONLINE + OFFLINE) if int(uid[1:]) % 2]),
        (Filter("online", 1, SOURCE), [uid for uid in ONLINE if int(uid[1:]) % 2]),
        (Filter("online", 7, None), []),
        (Filter(None, None, "other"), []),
        (Filter(None, None, ".*"), []),
    ],
)
def test_a_list_has_everybody_once_in_order(
    ledger: Ledger, database_url: str, wanted: Filter, expected: list[str]
) -> None:
    assert ask(database_url, lambda reader: pages(reader, wanted)) == expected


@pg.on_every_server
def test_the_summary_counts_what_lists_show(ledger: Ledger, database_url: str) -> None:
    summary = msgspec.to_builtins(summary_body(ask(database_url, lambda reader: reader.summary())))
    assert summary["users"] == {"online": len(ONLINE), "offline": len(OFFLINE), "unknown": 0}
    flags = [sum(int(uid[1:]) % 2 == flag for uid in ONLINE) for flag in (0, 1)]
    assert summary["devices_online"] == [
        {"source": SOURCE, "device_flag": flag, "devices": flags[flag]} for flag in (0, 1)
    ]
    assert summary["nodes"] == [{"source": SOURCE, "node": node, "devices": 100} for node in ("n1", "n2")]


@pg.on_every_server
def test_who_is_in_doubt_is_counted_as_unknown(ledger: Ledger, database_url: str) -> None:
    at = Clock().now()

    def now(event: SourceEvent, *nodes: str) -> dict[str, int]:
        append(ledger, {SOURCE: None}, (), lambda draft: iter([draft.append_to_source(SOURCE, event)]))
        statuses: dict[str, int] = ask(database_url, lambda reader: reader.statuses())
        summary = msgspec.to_builtins(summary_body(ask(database_url, lambda reader: reader.summary())))
        assert [each["node"] for each in summary["nodes"]] == list(nodes)
        assert sum(each["devices"] for each in summary["devices_online"]) == 100 * len(nodes)
        users: dict[str, int] = summary["users"]
        assert users == {status: statuses.get(status, 0) for status in ("online", "offline", "unknown")}
        return users

    everybody = {"online": 0, "offline": 0, "unknown": USERS}
    as_ever = {"online": len(ONLINE), "offline": len(OFFLINE), "unknown": 0}
    assert now(SourceDark(at=at, since=at)) == everybody
    assert now(SourceLit(at=at, by="poll"), "n1", "n2") == as_ever
    # Who holds whom in a cluster that counts together is not in the rows.
    assert now(NodeDown(node="n1", at=at, since=at, reason="refused"), "n1", "n2") == as_ever
    v3 = dict.fromkeys(("n1", "n2"), Profile.V3)
    down = Configured(at=at, instance="i", policy=Policy(), profile=Profile.V3, nodes=v3, rules_version=1)
    assert now(down, "n2") == {"online": 100, "offline": len(OFFLINE), "unknown": 100}


def test_a_grace_period_configured_meanwhile_holds_at_once(ledger: Ledger, database_url: str) -> None:
    async def question(reader: PresenceReader) -> tuple[str, str, dict[str, int], list[str]]:
        before = shown((await one(reader, OFFLINE[0]))[1])["status"]
        configuration = Configuration(Policy(grace_seconds=3600.0), Profile.V2_2, {"n1": Profile.V2_2})
        await asyncio.to_thread(announce_start, ledger, "j", "0", {SOURCE: configuration}, Clock().now())
        after = shown((await one(reader, OFFLINE[0]))[1])["status"]
        summary = msgspec.to_builtins(summary_body(await reader.summary()).users)
        return before, after, summary, await pages(reader, Filter("offline", None, None))

    before, after, summary, offline = ask(database_url, question)
    assert (before, after) == ("offline", "online")
    assert summary == {"online": USERS, "offline": 0, "unknown": 0}
    assert offline == []


def test_every_read_that_waits_hears_of_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.readers.POOL_SECONDS", 0.1)

    async def question(reader: PresenceReader) -> list[Any]:
        return await asyncio.gather(*(one(reader, f"u{n}") for n in range(5)), return_exceptions=True)

    answers = ask("postgresql://nobody@127.0.0.1:1/nothing", question)
    assert [type(each) for each in answers] == [StoreUnavailable] * 5


def waiting_for_current(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(
        f"SELECT count(*) FROM pg_locks WHERE relation = 'current'::regclass AND NOT granted AND {OF_THIS_DATABASE}"
    ).fetchone()
    assert row is not None
    number: int = row[0]
    return number


def test_who_waits_too_long_for_a_turn_is_told_so(
    ledger: Ledger, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody = [*ONLINE, *OFFLINE]

    async def question(reader: PresenceReader) -> Any:
        with psycopg.connect(database_url) as holding:
            holding.execute("LOCK TABLE current IN ACCESS EXCLUSIVE MODE")
            ahead = [asyncio.create_task(reader.many(everybody)) for _ in range(MAX_LARGE_READS)]
            await asyncio.to_thread(
                wait_until, lambda: waiting_for_current(holding) == MAX_LARGE_READS, "both turns taken"
            )
            monkeypatch.setattr("projections.queries.reader.LARGE_READ_TIMEOUT_SECONDS", 0.05)
            with pytest.raises(StoreUnavailable, match="many users"):
                await reader.many(everybody)
        return [*await asyncio.gather(*ahead), await reader.many(everybody)]

    assert [len(read.bodies) for read in ask(database_url, question)] == [USERS] * (MAX_LARGE_READS + 1)


def every_question(reader: PresenceReader) -> list[Awaitable[Any]]:
    everybody = [*ONLINE, *OFFLINE]
    assert len(everybody) >= MIN_LARGE_UIDS
    return [
        one(reader, ONLINE[0]),
        reader.many(ONLINE[:1]),
        reader.many(everybody),
        reader.page(Filter(None, None, None), None, 10),
        reader.summary(),
    ]


def test_rules_that_a_newer_version_keeps_are_read_as_far_as_they_are_needed(ledger: Ledger, database_url: str) -> None:
    async def question(reader: PresenceReader) -> tuple[list[Any], list[Any]]:
        before = [await each for each in every_question(reader)]
        newer.configure(ledger)
        return before, [await each for each in every_question(reader)]

    (one, many, *_), (one_then, many_then, large, page, summary) = ask(database_url, question)
    assert (one_then[1], many_then.bodies) == (one[1], many.bodies)
    assert [shown(body)["status"] for body in large.bodies] == ["online"] * len(ONLINE) + ["offline"] * len(OFFLINE)
    assert len(page.read.bodies) == 10
    assert summary.statuses == {"online": len(ONLINE), "offline": len(OFFLINE)}


def test_rules_that_cannot_be_read_are_named_by_every_question(ledger: Ledger, database_url: str) -> None:
    newer.keep(ledger, b'{"policy":17}')

    async def question(reader: PresenceReader) -> list[Any]:
        return [(await asyncio.gather(each, return_exceptions=True))[0] for each in every_question(reader)]

    for answer in ask(database_url, question):
        assert isinstance(answer, SourceUnreadable)
        assert re.search(newer.SAYS_KEPT, str(answer))
