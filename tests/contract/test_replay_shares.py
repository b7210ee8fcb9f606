"""The ledger judged again by shares of its users: the same to the byte with any number of processes."""

import multiprocessing
import os
import struct
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.errors import LedgerError, StoreUnavailable
from ledger.replay import processes
from ledger.replay.of_ledger import at_one_moment, judge_share, judge_share_elsewhere
from ledger.replay.processes import EVENTS_A_PROCESS, ProcessLost, judge_in_processes, processes_for
from ledger.replay.replayed import Replayed, add_up
from ledger.replay.slice import Trial, replay_slice
from ledger.settings.policy import override_policy
from ledger.slices.share import WHOLE, Share
from ledger.slices.taking import SliceScope, open_slice
from ledger.store import session
from tests.support.imported import brought
from tests.support.ledgers import configure, opened
from tests.support.slices import MAPPER


@pytest.fixture(scope="module")
def url(module_database_url: str, whole: Path) -> str:
    """Of a ledger with events of nearly every kind."""
    with opened(module_database_url) as ledger:
        brought(ledger, whole)
    return module_database_url


@pytest.fixture
def connection(url: str) -> Iterator[Connection[TupleRow]]:
    with session.connect(url) as connection:
        yield connection


def middle(connection: Connection[TupleRow]) -> datetime:
    row = connection.execute("SELECT recorded_at FROM events ORDER BY position OFFSET 20 LIMIT 1").fetchone()
    assert row is not None
    found: datetime = row[0]
    return found


def trial(*assignments: str) -> Trial:
    return Trial(partial(override_policy, assignments=assignments))


def printed(replayed: Replayed) -> bytes:
    return msgspec.json.encode(replayed.as_dict())


@pytest.mark.parametrize("assignments", [(), ("confirmations=1",), ("grace_seconds=5", "dedupe_seconds=0")], ids=str)
@pytest.mark.parametrize("from_the_middle", [False, True])
def test_shares_of_the_ledger_add_up_to_its_slice(
    connection: Connection[TupleRow], url: str, assignments: tuple[str, ...], *, from_the_middle: bool
) -> None:
    scope = SliceScope(None, middle(connection) if from_the_middle else None)
    with open_slice(connection, MAPPER, scope, lambda *_: None) as taken:
        expected = printed(replay_slice(taken, MAPPER, trial(*assignments)))
    with at_one_moment(connection, MAPPER, scope) as moment, session.connect(url) as other:
        assert printed(judge_share(connection, moment, trial(*assignments), lambda _: None)) == expected
        parts = [
            judge_share_elsewhere(other, moment, trial(*assignments), lambda _: None, Share(index, 3))
            for index in range(3)
        ]
    assert printed(add_up(parts)) == expected


def test_processes_come_to_the_same(connection: Connection[TupleRow], url: str) -> None:
    told: list[tuple[int, int]] = []
    with at_one_moment(connection, MAPPER, SliceScope()) as moment:
        expected = judge_share(connection, moment, trial("confirmations=1"), lambda _: None)
        found = judge_in_processes(url, moment, trial("confirmations=1"), 2, lambda *each: told.append(each))
    assert printed(found) == printed(expected)
    assert told[-1] == (moment.positions, moment.positions)
    assert not multiprocessing.active_children()


def test_what_is_recorded_meanwhile_is_in_no_share(connection: Connection[TupleRow], url: str) -> None:
    with at_one_moment(connection, MAPPER, SliceScope()) as moment, session.connect(url) as other:
        before = judge_share(connection, moment, trial(), lambda _: None)
        with opened(url) as ledger:
            configure(ledger)
        after = judge_share_elsewhere(other, moment, trial(), lambda _: None, WHOLE)
    assert printed(after) == printed(before)


def test_the_database_tells_shares_as_the_code_does(connection: Connection[TupleRow]) -> None:
    uids = [f"u{number}" for number in range(50)] + ["张三", "back\\slash", "x" * 200]
    for of in (2, 7, 64):
        rows = connection.execute(
            "SELECT get_byte(sha256(convert_to('user:' || uid, 'UTF8')), 0) %% %s FROM unnest(%s::text[]) AS u (uid)",
            (of, uids),
        ).fetchall()
        assert [Share(index, of).has(uid) for uid, (index,) in zip(uids, rows, strict=True)] == [True] * len(uids)


def test_a_share_that_cannot_be_read_says_why(connection: Connection[TupleRow], url: str) -> None:
    """In words, and nothing is left of the processes."""
    with at_one_moment(connection, MAPPER, SliceScope()) as moment:
        broken = moment._replace(snapshot="00000000-00000000-0")
        with pytest.raises(LedgerError, match="snapshot"):
            judge_in_processes(url, broken, trial(), 2, lambda *_: None)
        with pytest.raises(StoreUnavailable):
            judge_in_processes(f"{url}_not_there", moment, trial(), 2, lambda *_: None)
    assert not multiprocessing.active_children()


def test_a_process_that_ends_in_the_middle_of_what_it_says_is_told() -> None:
    """Where memory is short, that is where it is killed."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    os.write(theirs.fileno(), struct.pack("!i", 1000) + b"a part of it")
    theirs.close()
    with ours, pytest.raises(ProcessLost, match="--processes"):
        processes._results([ours], 1, lambda *_: None)


def test_a_process_that_is_killed_is_told(
    connection: Connection[TupleRow], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(pipes: list[Any]) -> list[Any]:
        for child in multiprocessing.active_children():
            child.kill()
            child.join()
        return pipes

    monkeypatch.setattr(processes, "wait", killed)
    with at_one_moment(connection, MAPPER, SliceScope()) as moment, pytest.raises(ProcessLost, match="--processes"):
        judge_in_processes(url, moment, trial(), 2, lambda *_: None)
    assert not multiprocessing.active_children()


def test_an_interrupt_leaves_no_process(
    connection: Connection[TupleRow], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> list[Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "wait", interrupted)
    with at_one_moment(connection, MAPPER, SliceScope()) as moment, pytest.raises(KeyboardInterrupt):
        judge_in_processes(url, moment, trial(), 2, lambda *_: None)
    assert not multiprocessing.active_children()


def test_as_many_processes_as_are_worth_it() -> None:
    assert processes_for(0, 8) == processes_for(EVENTS_A_PROCESS, 8) == 1
    assert processes_for(3 * EVENTS_A_PROCESS, 8) == 3
    assert processes_for(10**9, 8) == 8
