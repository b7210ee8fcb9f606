"""Explaining the status of somebody whose record was imported from another ledger."""

from msgspec.structs import replace

from ledger.domain.explain import explain
from ledger.domain.imported import PresenceImported, as_imported
from ledger.domain.observation import Instant
from ledger.domain.policy import Policy
from ledger.domain.presence import Cause, Device, Flip, Presence, Session
from ledger.domain.reconciliation_events import SourceDark
from ledger.domain.source import SourceState
from tests.support.explaining import SOURCE, Explaining, Told


def state(world: Explaining, recorded_at: Instant) -> PresenceImported:
    """That `u` is online, as another ledger had it at an instant, at the next place of this one."""
    place = world.history.head() + 1
    session = Session(1, "n1", recorded_at, recorded_at)
    flip = Flip("online", recorded_at, Cause("webhook", recorded_at, place))
    device = Device(SOURCE, "", 0, recorded_at, (session,))
    return as_imported(Presence("u", 1, flip, None, (device,), recorded_at, place), recorded_at)


def imported(ago: float) -> Explaining:
    """A state that is so old was imported ten seconds ago."""
    world = Explaining().wait(100)
    return world.happens(state(world, world.ago(ago - 10))).wait(10)


def test_before_an_import_nothing_was_known_here_and_it_says_why() -> None:
    world = imported(ago=60)
    told = world.told(ago=30)
    assert told.answer == ("shown_never_observed", "unknown", "unknown_never_observed")
    assert told.the("imported_later").params == {"imported_at": world.ago(10), "received_at": world.ago(60)}
    assert told.the("next_change").params == {"status": "online", "changed_at": world.ago(10)}
    assert told.the("today_other").params == {"status": "online"}
    before_the_state = world.told(ago=70)
    assert "imported_later" in before_the_state.codes
    assert before_the_state.the("today_same").params == {"status": "unknown"}


def test_a_state_that_kept_its_instant_stands_where_it_stood() -> None:
    world = imported(ago=10)
    told = world.told(ago=30)
    assert "imported_later" not in told.codes
    assert told.the("next_change").params == {"status": "online", "changed_at": world.ago(10)}


def test_what_goes_back_to_an_imported_state_is_as_sure_as_what_stands_before_the_record() -> None:
    world = imported(ago=60)
    told = world.told(ago=30, position=world.history.head())
    assert told.answer == ("shown_before_record", "likely", "likely_before_record")
    assert "imported_later" not in told.codes


def test_the_bound_of_darkness_is_that_of_the_source_which_is_dark() -> None:
    world = Explaining(policy=Policy(dark_seconds=60.0)).wait(1).hears("u-0-1-1-1-1").wait(61)
    evidence = world.says(SourceDark(at=world.at, since=world.ago(60))).evidence()
    other = {"imported": SourceState("imported", policy=Policy(dark_seconds=7.0))}
    told = Told(explain(replace(evidence, sources=other | dict(evidence.sources))))
    assert told.the("rule_source_dark").params == {"dark_seconds": 60.0}


def test_with_hindsight_a_whole_history_that_was_recorded_later_has_arrived() -> None:
    world = Explaining().wait(1)
    add, imported_at = world.history.add, world.ago(-1000)
    # Recorded long after they came, as an import records what is older than its ledger.
    world.history.add = lambda recorded, at: add(recorded, imported_at)  # type: ignore[method-assign]
    for number in range(150):
        world.wait(1).hears(f"u-0-{1 - number % 2}-{number // 2 + 1}-{1 - number % 2}-{1 - number % 2}")
    world.wait(2000)
    told = world.told(ago=2029.5, position=world.history.head())
    assert told.the("next_change").params == {"status": "online", "changed_at": world.ago(2029)}
