"""What an import brings: the states where a slice begins, which come out of their events as they went in."""

from ledger.domain import imported, source
from ledger.domain.events import DeliveryReceived
from ledger.domain.evolve import evolve
from ledger.domain.nodes import NodeState, OpenRun
from ledger.domain.observation import SECOND
from ledger.domain.policy import Policy
from ledger.domain.presence import Cause, Device, Flip, Presence, Session
from ledger.domain.profile import Profile
from ledger.domain.source import Delivery, SourceState, decide_delivery, evolve_source

T = 1_800_000_000 * SECOND

PRESENCE = Presence(
    "u",
    17,
    Flip("online", T, Cause("webhook", T, 40)),
    None,
    (Device("main", "", 0, T, (Session(1, "n1", T, T),)),),
    T,
    41,
)


def test_a_presence_comes_out_as_it_went_in() -> None:
    event = imported.as_imported(PRESENCE, T + 5)
    assert (event.received_at, event.status_before, event.status_after) == (T + 5, "online", "online")
    assert evolve(Presence("u"), event, 99) == PRESENCE


def test_of_an_instant_before_the_slice_a_state_tells_the_doubts_that_had_begun() -> None:
    down = {"n1": NodeState(down_since=T + 1), "n2": NodeState(down_since=T + 3), "n3": NodeState()}
    state = source.as_imported(SourceState("main", version=1, nodes=down, dark_since=T + 2))
    told = {
        at: [imported.without_doubts_after(state, T + at).dark_since]
        + [node.down_since for node in imported.without_doubts_after(state, T + at).nodes.values()]
        for at in range(4)
    }
    assert told == {
        0: [None, None, None, None],
        1: [None, T + 1, None, None],
        2: [T + 2, T + 1, None, None],
        3: [T + 2, T + 1, T + 3, None],
    }


def test_a_source_comes_out_as_it_went_in_with_the_bodies_of_its_window() -> None:
    known = SourceState(
        "main",
        version=7,
        policy=Policy(dedupe_seconds=60.0),
        profile=Profile.V3,
        node_profiles={"n1": Profile.V3},
        dark_since=T,
        open_runs={"r": OpenRun(T, "manual", None, ("u",))},
        breaker_until=T + 1,
        lost_node_at=T + 2,
        retired={"n2": 3},
        rules_version=1,
    )
    for seconds in (0, 30):
        delivery = Delivery(f"d{seconds}", "main", "n1", T + seconds * SECOND, str(seconds), 5, 1, 0, (3, 4))
        known = evolve_source(known, decide_delivery(known, delivery), 10 + seconds)
    again = evolve_source(SourceState("main"), source.as_imported(known), 99)
    assert list(again.recent) == list(known.recent)
    for name in SourceState.__struct_fields__:
        assert name == "recent" or getattr(again, name) == getattr(known, name)
    repeated = decide_delivery(again, Delivery("d", "main", "n1", T + 59 * SECOND, "0", 5, 1, 0, (3, 4)))
    assert isinstance(repeated, DeliveryReceived)
    assert repeated.repeats == "d0"
