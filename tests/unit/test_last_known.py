"""The memory for when PostgreSQL is away: what it is filled with, how it is bounded, what it says, when it is asked."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ledger.domain.instants import to_text
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import Policy
from ledger.domain.presence import Cause, Device, Flip, Presence
from ledger.domain.source import SourceState
from ledger.errors import StoreBusy, StoreUnavailable
from ledger.http.answers import PresenceBody
from ledger.ingest.group import GroupStates
from ledger.last_known.answering import MANY_USERS, Answering
from ledger.last_known.memory import FoundChanges, LastKnown, UsersPage
from projections.models import current
from projections.models.shown import AnswerPoint, Rules, as_of
from projections.queries.reader import Read

AT: Instant = 1_800_000_000 * SECOND
RECORDED_AT = datetime.fromtimestamp(AT // SECOND + 5, UTC)
PLAIN = Rules(1, {})


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.at = AT

    def __call__(self) -> Instant:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(clock: Clock) -> LastKnown:
    return LastKnown(3, 60.0, clock)


def presence(uid: str, version: int = 1) -> Presence:
    return Presence(uid, version, position=version)


def take(
    known: LastKnown,
    head: int,
    users: Sequence[Presence] = (),
    last: str | None = None,
    rules: Rules = PLAIN,
    changed: set[str] | None = None,
) -> bool:
    """A step that finds these users, the last of whom its page ends with."""
    wanted = known.wanted(0, head)
    states = {each.uid: current.encode_state(each) for each in users}
    page = None if wanted.after is None else UsersPage(states, last)
    concerned = {each.uid for each in users} if changed is None else changed
    return known.take(wanted, FoundChanges(AT, AnswerPoint(AT, head), rules, concerned, states, page))


def filled(known: LastKnown, *users: Presence, head: int = 10) -> None:
    """All users that there are, up to that head."""
    assert take(known, head, [each for each in users if each.status == "online"])
    assert not take(known, head, users)


def told(known: LastKnown, *uids: str) -> list[dict[str, Any]]:
    read = known.read(uids)
    assert read is not None
    for body in read.bodies:
        msgspec.json.decode(body + as_of(read.made), type=PresenceBody)
    return [json.loads(body + b"}") for body in read.bodies]


def versions(known: LastKnown, *uids: str) -> list[int]:
    return [each["version"] for each in told(known, *uids)]


def own_commit(known: LastKnown, before: int, head: int, *users: Presence, lineage: int = 0) -> None:
    known.note_commit(before, GroupStates(head, {}, {each.uid: each for each in users}, lineage), RECORDED_AT)


def test_nothing_is_known_before_the_first_moment(known: LastKnown) -> None:
    own_commit(known, 0, 1, presence("alice"))
    assert known.read(["alice"]) is None


def test_those_online_come_first_and_whoever_is_not_there_in_the_end_was_never_observed(known: LastKnown) -> None:
    wanted = known.wanted(0, 10)
    assert (wanted.after, wanted.online_alone, wanted.gaps) == ("", True, [])
    assert take(known, 10, [presence("alice")], last="alice")
    assert known.wanted(0, 10).after == "alice"
    assert known.read(["bob"]) is None
    assert [each["reason"] for each in told(known, "alice", "bob")] == ["never_observed", "store_unavailable"]
    assert take(known, 10)
    assert known.wanted(0, 10)[3:] == ("", False)
    assert not take(known, 10, [presence("alice"), presence("bob", 2)])
    assert known.wanted(0, 10).after is None
    assert versions(known, "alice", "bob", "nobody", "a\0b") == [1, 2, 0, 0]
    assert told(known, "nobody")[0]["reason"] == "never_observed"


def test_no_more_are_known_than_there_is_room_for(known: LastKnown) -> None:
    assert not take(known, 10, [presence(uid) for uid in "abcd"], last="d")
    assert [each["reason"] for each in told(known, *"abcd")] == ["store_unavailable"] + ["never_observed"] * 3
    own_commit(known, 10, 11, presence("e", 7))
    assert versions(known, *"abcde") == [0, 0, 1, 1, 7]


def test_own_commits_are_known_at_once_and_others_not_before_they_are_read(known: LastKnown) -> None:
    filled(known, presence("alice"), presence("bob"))
    own_commit(known, 10, 12, presence("alice", 2))
    own_commit(known, 15, 16, presence("bob", 2))
    read = known.read(["alice", "bob"])
    assert read is not None
    assert (read.made.position, read.stale_since) == (12, AT + 5 * SECOND)
    assert versions(known, "alice", "bob") == [2, 1]
    wanted = known.wanted(0, 20)
    assert wanted.gaps == [(12, 15), (16, 20)]
    found = {"alice": current.encode_state(presence("alice", 3))}
    assert not known.take(wanted, FoundChanges(AT, AnswerPoint(AT, 20), PLAIN, {"alice"}, found, None))
    assert versions(known, "alice", "bob") == [3, 2]
    # It comes later than it was read.
    own_commit(known, 16, 18, presence("alice", 9))
    assert versions(known, "alice") == [3]


def test_what_was_read_before_it_was_void_is_not_taken(known: LastKnown) -> None:
    filled(known, presence("alice"))
    wanted = known.wanted(0, 11)
    known.forget()
    assert known.take(wanted, FoundChanges(AT, AnswerPoint(AT, 11), PLAIN, set(), {}, None))
    assert known.read(["alice"]) is None


@pytest.mark.parametrize("how", ["commit", "lineage", "head", "gap"])
def test_it_begins_again_where_nothing_stands_or_too_much_is_missing(known: LastKnown, how: str) -> None:
    filled(known, presence("alice"))
    match how:
        case "commit":
            own_commit(known, 10, 11, presence("alice", 2), lineage=1)
        case "lineage":
            known.wanted(1, 10)
        case "head":
            known.wanted(0, 9)
        case _:
            assert known.wanted(0, 10_000_000).gaps == []
    assert known.read(["alice"]) is None


def test_commits_that_the_follower_does_not_keep_up_with_are_read(known: LastKnown) -> None:
    filled(known, presence("alice"))
    own_commit(known, 10, 11, presence("alice", 2))
    wanted = known.wanted(0, 11)
    own_commit(known, 11, 13, presence("a"), presence("b"))
    own_commit(known, 13, 15, presence("c"), presence("d"))
    # What it has begun with is not void.
    assert not known.take(wanted, FoundChanges(AT, AnswerPoint(AT, 11), PLAIN, set(), {}, None))
    assert versions(known, "alice") == [2]
    assert known.wanted(0, 15).gaps == [(11, 15)]


def test_an_erased_user_does_not_come_back(known: LastKnown) -> None:
    filled(known, presence("alice"), presence("bob"))
    own_commit(known, 10, 11, presence("alice", 2))
    known.note_erased("alice", 12)
    assert versions(known, "alice") == [0]
    assert not take(known, 11, [presence("alice", 2)])
    assert versions(known, "alice", "bob") == [0, 1]
    assert not take(known, 12, changed={"alice"})
    own_commit(known, 12, 13, presence("alice", 1))
    assert versions(known, "alice", "bob") == [1, 1]
    # By another instance: the step says whom nothing is left of.
    assert not take(known, 14, changed={"bob"})
    assert versions(known, "bob") == [0]


def test_time_passes(known: LastKnown, clock: Clock) -> None:
    rules = Rules(1, {"main": SourceState("main", policy=Policy(grace_seconds=30.0))})
    cause = Cause("webhook", AT, 1)
    device = Device("main", "", 0, AT)
    alice = Presence("alice", 1, Flip("offline", AT, cause), Flip("online", AT - 1, cause), (device,), AT, 1)
    assert take(known, 10, [alice], rules=rules)
    clock.at = AT + 29 * SECOND
    [before] = told(known, "alice")
    clock.at = AT + 31 * SECOND
    read = known.read(["alice"])
    assert read is not None
    [after] = told(known, "alice")
    assert (before["status"], after["status"]) == ("online", "offline")
    assert read.made == (clock.at, 10)
    assert before["stale_since"] == after["stale_since"] == to_text(AT)
    assert (after["verified_at"], after["version"]) == (None, 1)
    clock.at = AT + 61 * SECOND
    assert known.read(["alice"]) is None


class Reader:
    """Answers with what it is given, or fails."""

    def __init__(self) -> None:
        self.fails: Exception | None = None
        self.asked = 0

    async def many(self, _: Sequence[str]) -> Read:
        self.asked += 1
        if self.fails is not None:
            raise self.fails
        return Read(AnswerPoint(AT, 1), [b"fresh"])


@pytest.fixture
def reader() -> Reader:
    return Reader()


def test_while_postgresql_answers_nothing_is_from_memory(known: LastKnown, reader: Reader) -> None:
    answering = Answering(reader, known)  # type: ignore[arg-type]
    filled(known, presence("alice"))
    assert asyncio.run(answering.of(["alice"])).bodies == [b"fresh"]
    reader.fails = StoreBusy("too many")
    with pytest.raises(StoreBusy):
        asyncio.run(answering.of(["alice"]))
    assert not answering.is_away


@pytest.mark.parametrize("number", [1, MANY_USERS])
def test_once_a_question_has_failed_postgresql_is_not_asked_until_it_is_heard(
    known: LastKnown, reader: Reader, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("ledger.last_known.answering.time.monotonic", lambda: now)
    answering, asked = Answering(reader, known), ["alice"] * number  # type: ignore[arg-type]
    filled(known, presence("alice"))
    reader.fails = StoreUnavailable("PostgreSQL does not answer")
    for _ in range(2):
        assert asyncio.run(answering.of(asked)).stale_since == AT
    assert (reader.asked, answering.is_away) == (1, True)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        answering.expect_postgresql()
    known.forget()
    with pytest.raises(StoreUnavailable, match="does not answer"):
        asyncio.run(answering.of(asked))
    # It was asked before that question failed.
    answering.note_heard(99.0)
    assert answering.is_away
    answering.note_heard(101.0)
    answering.expect_postgresql()
    reader.fails = None
    assert asyncio.run(answering.of(asked)).bodies == [b"fresh"]


def test_without_a_memory_a_question_fails(reader: Reader) -> None:
    answering = Answering(reader, None)  # type: ignore[arg-type]
    reader.fails = StoreUnavailable("away")
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            asyncio.run(answering.of(["alice"]))
    assert reader.asked == 2
