"""Whatever was recorded, and whatever policy is tried: users judged by shares come to what all of them together do."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.domain.profile import Profile
from tests.support.reconciler import Reconciler
from tests.support.slices import boot_at, replayed, replayed_in_shares, slice_of

UIDS = ("u", "v", "w")
SECOND = 1_000_000

_ITEMS = st.lists(
    st.tuples(st.sampled_from(UIDS), st.sampled_from((0, 1)), st.booleans(), st.integers(1, 4), st.integers(0, 2)),
    min_size=1,
    max_size=4,
)
_STEPS = st.one_of(
    st.tuples(st.just("hear"), _ITEMS),
    st.tuples(st.just("ask"), st.dictionaries(st.sampled_from(UIDS), st.integers(0, 2))),
    st.tuples(st.just("pass"), st.sampled_from((0.5, 3.0, 10.0))),
    st.tuples(st.just("boot"), st.none()),
)
_POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "confirmations": st.sampled_from((1.0, 3.0)),
        "grace_seconds": st.sampled_from((0.0, 5.0)),
        "dedupe_seconds": st.just(0.0),
        "reorder_seconds": st.sampled_from((0.0, 60.0)),
    },
)


def lived(steps: list[tuple[str, object]]) -> Reconciler:
    """What these steps leave on record."""
    world = Reconciler(Profile.V2_2)
    world.probe("n1", boot_at(world.at - 3600 * SECOND))
    for what, with_what in steps:
        match what, with_what:
            case "hear", list() as items:
                told = [f"{uid}-{flag}-{int(on)}-{conn}-{count}-{count}" for uid, flag, on, conn, count in items]
                world.hear("n1", *told)
            case "ask", dict() as rows:
                world.answer(world.ask(list(UIDS)), {uid: {0: number} for uid, number in rows.items() if number})
            case "pass", float() as seconds:
                world.pass_time(seconds)
            case _:
                world.probe("n1", boot_at(world.at - SECOND))
        world.pass_time(0.5)
    return world


@given(st.lists(_STEPS, min_size=3, max_size=12), _POLICIES, st.integers(2, 3))
@settings(max_examples=60)
def test_shares_add_up_to_the_whole(steps: list[tuple[str, object]], policy: dict[str, float], number: int) -> None:
    kept = lived(steps).kept
    for start in (0, len(kept) // 2):
        taken = slice_of(kept, start)
        assert replayed_in_shares(taken, number, policy).as_dict() == replayed(taken, **policy).as_dict()
