"""Whatever is explained is so: of every transition in the recordings, and of lives at random, with hindsight, too."""

from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bench._explained import DOCUMENTS, sections
from ledger.domain.explain import explain
from ledger.domain.statement import Explanation, Param, Statement, say
from projections.queries.evidence import gather
from tests.support.claims import problems
from tests.support.explained import Replayed, remembered, replayed
from tests.support.explaining import Explaining
from tests.support.lived import USERS, Life, lived
from tests.support.recordings import ALONE, WITH_POLLS, lines_of

QUICK = [name for name in ALONE.bounds if len(lines_of(name)) < 1000]
GRACE = (*WITH_POLLS.policy, "grace_seconds=2")


@pytest.mark.parametrize("name", QUICK)
def test_of_every_transition_in_a_recording(name: str) -> None:
    found = replayed(name)
    for moment in found.moments():
        assert found.wrong_with(moment, found.explain(moment.uid, moment.at)) == []


@pytest.mark.parametrize("name", ["v12/crowd_a", "v22/retries_then_delivered", "v3/two_nodes"])
def test_with_a_grace_period_and_with_every_delivery(name: str) -> None:
    for found in (replayed(name, *GRACE), Replayed(name, all_deliveries=True)):
        for moment in found.moments():
            assert found.wrong_with(moment, found.explain(moment.uid, moment.at)) == []


# A sweep of before its record, and another connection since, of somebody who was shown offline and is so today.
@example(seed=3165, steps=51)
# A sweep of before its record, and another connection by then, within the grace period.
@example(seed=504_190_947, steps=42)
# An offline that was recorded later, of a time within its grace period, and taken back by a look.
@example(seed=42, steps=31)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 60))
def test_of_a_life_at_random(seed: int, steps: int) -> None:
    hold(lived(seed, steps), Random(seed))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 60))
def test_of_a_life_in_which_operators_have_their_say(seed: int, steps: int) -> None:
    hold(lived(seed, steps, overrides=True), Random(seed))


def hold(life: Life, draw: Random) -> None:
    """Whatever is explained of a life is so, of any instant, as was known at any later one."""
    history = remembered(life)
    for at, _ in life.moments[::4]:
        for uid in (*USERS, "nobody"):
            for position in (history.position_at(at), history.head(), draw.randint(0, history.head())):
                told = explain(gather(history, uid, at, position))
                assert list(problems(history.rows, told)) == []
            known_at = draw.choice([later for later, _ in life.moments if later >= at])
            told = explain(gather(history, uid, at, history.position_at(known_at), known_at))
            assert list(problems(history.rows, told)) == []


def lies(told: Explanation) -> Iterator[Explanation]:
    """The same with one thing changed: a fact, or what is cited."""
    for number, statement in enumerate(told.statements):
        for changed in (*_other_facts(statement), *_other_positions(statement)):
            statements = (*told.statements[:number], changed, *told.statements[number + 1 :])
            yield replace(told, statements=statements)


CHANGED: dict[type, Callable[[Param], Param]] = {
    int: lambda value: int(value) + 1_000_003,
    float: lambda value: float(value) + 7.5,
    str: lambda value: f"{value}?",
}

NOT_IN_EVENTS = {("last_seen", "last_seen_at"), ("today_same", "status"), ("today_other", "status")}
LEVEL = "level"


def _other_facts(statement: Statement) -> Iterator[Statement]:
    for name, value in statement.params.items():
        if name != LEVEL and (statement.code, name) not in NOT_IN_EVENTS:
            yield replace(statement, params={**statement.params, name: CHANGED[type(value)](value)})


def _other_positions(statement: Statement) -> Iterator[Statement]:
    yield replace(statement, positions=(*statement.positions, 10**9))
    if statement.positions:
        yield replace(statement, positions=())


@pytest.mark.parametrize("name", ["v22/crash_and_restart", "v22/slot_zero", "v12/retries_then_delivered"])
def test_the_check_finds_what_is_changed(name: str) -> None:
    found = replayed(name)
    tried = 0
    for moment in list(found.transitions())[::3]:
        told = found.explain(moment.uid, moment.at)
        for lie in lies(told):
            tried += 1
            changed = next(a for a, b in zip(lie.statements, told.statements, strict=True) if a != b)
            assert list(problems(found.history.rows, lie)), changed
    assert tried > 100


def test_the_check_finds_a_change_that_is_not_the_first_after_the_instant() -> None:
    world = Explaining().hears("u-0-1-1-1-1").wait(10).hears("u-0-0-1-0-0").wait(5).hears("u-0-1-2-1-1")
    told = world.told(ago=10, position=world.history.head()).explanation
    lie = say("next_change", world.history.head(), status="online", changed_at=world.at)
    statements = tuple(lie if each.code == "next_change" else each for each in told.statements)
    assert [what.split()[0] for what in problems(world.history.rows, replace(told, statements=statements))] == [
        "next_change"
    ]


def test_the_documents_pages_are_what_is_printed() -> None:
    for language, file in DOCUMENTS.items():
        document = file.read_text(encoding="utf-8")
        for name, text in sections(language).items():
            assert f"<!-- bench:{name} -->\n{text.rstrip()}\n<!-- end -->" in document, (language, name)
