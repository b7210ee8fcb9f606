"""A steady watch changes by suspects alone, whatever webhooks say and whatever becomes of the user, and stays so."""

from hypothesis import assume, given
from hypothesis import strategies as st

from ledger.domain.drift import Doubt
from ledger.domain.look import Watch
from ledger.domain.observation import SECOND
from ledger.domain.policy import Policy
from ledger.domain.presence import Cause, Flip, Presence
from ledger.domain.profile import Profile
from ledger.domain.reschedule import Reschedule, is_steady, rescheduled
from ledger.domain.source import SourceState

T = 1_800_000_000 * SECOND

around = st.integers(-4000 * SECOND, 4000 * SECOND).map(lambda gap: T + gap) | st.sampled_from(
    [T, T + 18 * SECOND, T + 294 * SECOND, T + 294 * SECOND + 1, T + 3528 * SECOND]
)
later = st.integers(0, 4000 * SECOND).map(lambda gap: T + gap) | st.just(T)
seconds = st.sampled_from([1.0, 30.0, 300.0, 3600.0])
policies = st.builds(Policy, tier_vip_seconds=seconds, tier_normal_seconds=seconds, tier_cold_seconds=seconds)
# Of these uids the second is silenced by v2.1 and v2.2.
uids = st.sampled_from(["alice", "bob"])
sources = st.builds(SourceState, st.just("main"), policy=policies, profile=st.sampled_from(Profile))
tiers = st.sampled_from([None, None, "vip", "normal", "cold"])
flips = st.none() | st.builds(Flip, st.sampled_from(["online", "offline"]), around, st.just(Cause("webhook", T, 1)))
presences = st.builds(
    Presence, uids, flip=flips, last_seen_at=st.none() | around, position=st.integers(0, 9), tier=tiers
)
doubts = st.builds(Doubt, st.just("ghost"), st.just(T), st.just(T), st.integers(0, 9), st.just(1))
watches = st.builds(
    Watch, around, st.sampled_from([None, "late"]), doubt=st.none() | doubts, looked_at=st.none() | around
)
webhooks = st.lists(st.builds(Reschedule, later, st.just("main"), st.sampled_from([None, None, "late"])), max_size=6)


@given(watches, presences, sources, st.lists(st.tuples(webhooks, presences), max_size=3))
def test_a_steady_watch_changes_by_suspects_alone(
    watch: Watch, presence: Presence, source: SourceState, lives: list[tuple[list[Reschedule], Presence]]
) -> None:
    assume(is_steady(watch, presence, source, T))
    for heard, as_of in lives:
        now = Presence(
            presence.uid, as_of.version, as_of.flip, None, (), as_of.last_seen_at, as_of.position, presence.tier
        )
        for said in heard:
            after = rescheduled(watch, said, now, source)
            assert said.suspect is not None or after == watch
            assert is_steady(after, now, source, T)
            watch = after


@given(watches, presences, sources)
def test_a_webhook_leaves_a_watch_without_a_doubt_steady_unless_it_makes_the_user_cold(
    watch: Watch, presence: Presence, source: SourceState
) -> None:
    after = rescheduled(watch, Reschedule(T, "main"), presence, source)
    tells = presence.status == "online" or (presence.last_seen_at or 0) >= T - 900 * SECOND
    if watch.doubt is None and (presence.tier is not None or tells) and presence.uid == "alice":
        assert is_steady(after, presence, source, T)
