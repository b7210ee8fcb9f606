"""Of every push notification that is spared, a connection bears witness that was heard of lately and is in no doubt."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.domain.drift import is_silenced
from ledger.domain.observation import SECOND
from ledger.domain.presence import Device, Presence, Session
from ledger.domain.profile import Profile
from ledger.domain.reach import UNMARKED, Mark, reach
from ledger.domain.reach_policy import DEFAULT_REACH, ReachPolicy
from ledger.domain.source import SourceState
from ledger.domain.status import derive
from tests.support.strategies import NODES, SOURCES, UIDS, Feed, Post, histories, policies, profiles

offsets = st.sampled_from([-60.0, -9.0, 0.0, 2.0, 9.0, 599.0, 600.0, 601.0])
"""Seconds after the last delivery."""

marks = st.builds(
    lambda after, doubted, suspect: (after, doubted, suspect),
    st.none() | offsets,
    st.sampled_from([False, False, True]),
    st.sampled_from([False, False, True]),
)
reach_policies = st.sampled_from(
    [DEFAULT_REACH, ReachPolicy(reach_any_device=True), ReachPolicy(reach_verified_seconds=0.0)]
)


def witnesses(
    presence: Presence, source: SourceState, mark: Mark, at: int, bound: int, flags: set[int | None]
) -> list[tuple[Device, Session]]:
    """The sessions in a source that were heard of within the bound and that nothing speaks against; by its own words,
    not by those of the rule."""
    if source.dark_since is not None or mark.doubted or mark.suspect:
        return []
    found = []
    for device in presence.devices:
        for session in device.sessions if device.source == source.name and device.device_flag in flags else ():
            is_later = mark.verified_at is not None and mark.verified_at >= session.opened_at
            heard = [session.seen_at, *([mark.verified_at] if mark.verified_at is not None and is_later else [])]
            muted = any(is_silenced(presence.uid, each) for each in {source.profile, *source.node_profiles.values()})
            if max(heard) >= at - bound and (is_later or not muted):
                found.append((device, session))
    return found


@given(
    history=histories,
    profile=profiles,
    policy=policies,
    reach_policy=reach_policies,
    after=offsets,
    marked=st.fixed_dictionaries(dict.fromkeys(SOURCES, marks)),
    dark=st.sets(st.sampled_from(SOURCES)),
    down=st.sets(st.sampled_from(NODES)),
)
def test_nobody_is_spared_a_notification_in_doubt(
    history: list[Post],
    profile: Profile,
    policy: object,
    reach_policy: ReachPolicy,
    after: float,
    marked: Mapping[str, tuple[float | None, bool, bool]],
    dark: set[str],
    down: set[str],
) -> None:
    feed = Feed(profile, policy)  # type: ignore[arg-type]
    for post in history:
        feed.post(post)
    at = feed.at + round(after * SECOND)
    sources = {}
    for name in SOURCES:
        state = feed.draft.source(name)
        nodes = {each: replace(node, down_since=at if each in down else None) for each, node in state.nodes.items()}
        sources[name] = replace(state, nodes=nodes, dark_since=at if name in dark else None)
    given_marks = {
        name: Mark(None if offset is None else feed.at + round(offset * SECOND), *rest)
        for name, (offset, *rest) in marked.items()
    }
    bound = round(reach_policy.reach_verified_seconds * SECOND)
    for uid in UIDS:
        presence = feed.draft.presence(uid)
        found = reach(presence, sources, given_marks, at, reach_policy)
        shown = derive(presence, sources, at)
        flags = {device.device_flag for device in presence.devices if device.device_flag != 99}
        counted = flags if reach_policy.reach_any_device else flags & {0}
        for each, only in [(found.answer, counted), *((d.answer, {d.device_flag}) for d in found.devices)]:
            bears = [
                witness
                for name in SOURCES
                for witness in witnesses(presence, sources[name], given_marks.get(name, UNMARKED), at, bound, only)
            ]
            assert each.push or (each.certain and shown.status == "online" and bears)
        # Nor is anybody notified who is surely there: on the app, of late, with nothing in doubt anywhere.
        if not dark and not down:
            sure = [
                w
                for name in SOURCES
                for w in witnesses(presence, sources[name], given_marks.get(name, UNMARKED), at, bound, counted)
            ]
            assert found.answer.push == (not sure)
        if shown.reason is not None:
            assert found.answer.push
            assert not found.answer.certain
