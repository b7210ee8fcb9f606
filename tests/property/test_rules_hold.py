"""What holds of the rules whatever comes: round trips, repeats, folding, explained statuses, users apart."""

import re
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.domain.events import WebhookObserved
from ledger.domain.evolve import evolve
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND, Claim, parse_item
from ledger.domain.policy import Policy
from ledger.domain.presence import Presence
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState, evolve_source
from ledger.domain.status import derive, derive_device
from ledger.domain.visible import visible, visible_at
from ledger.ingest.draft import ParsedWebhook
from ledger.sources.wukongim.payload import NotAnArray, parse_body
from ledger.store.mapper import EventMapper
from projections.models.current import device_tokens
from projections.models.shown import Rules, body, plain_body, shown_body
from projections.queries.listing import unknown_pattern
from tests.support.scenario import format_item
from tests.support.strategies import (
    NODES,
    UIDS,
    Feed,
    Post,
    claims,
    histories,
    policies,
    posts,
    profiles,
)

MAPPER = EventMapper()


@given(claims)
def test_any_claim_survives_format_and_parse(claim: Claim) -> None:
    assert parse_item(format_item(claim)) == claim


@given(st.text())
def test_what_parses_is_written_back_as_it_was_but_for_leading_zeros(item: str) -> None:
    parsed = parse_item(item)
    if isinstance(parsed, Claim):
        assert parse_item(format_item(parsed)) == parsed
        assert parsed.uid == item.rsplit("-", 5)[0]


@given(st.one_of(st.binary(), st.recursive(st.none() | st.floats() | st.text(), st.lists).map(msgspec.json.encode)))
def test_any_body_is_read(raw: bytes) -> None:
    parsed = parse_body(raw)
    if not isinstance(parsed, NotAnArray):
        assert len(parsed) == len(msgspec.json.decode(raw))


@settings(max_examples=400)
@given(profiles, policies, histories, posts, st.floats(0, 60))
def test_a_repeated_delivery_changes_no_status(
    profile: Profile, policy: Policy, history: list[Post], post: Post, gap: float
) -> None:
    feed = Feed(profile, policy).post_all([*history, post])
    before = feed.statuses(), feed.devices_online()
    feed.post(post._replace(gap=gap))
    assert (feed.statuses(), feed.devices_online()) == before


@settings(max_examples=200)
@given(profiles, policies, histories)
def test_folding_the_stored_events_gives_the_state(profile: Profile, policy: Policy, history: list[Post]) -> None:
    feed = Feed(profile, policy).post_all(history)
    for uid, events in feed.user_events.items():
        presence = Presence(uid)
        for position, event in events:
            stored = MAPPER.event(*MAPPER.kind_and_payload(event))
            assert stored == event
            assert isinstance(stored, WebhookObserved)
            presence = evolve(presence, stored, position)
        assert presence == feed.draft.presence(uid)
    for name, source_events in feed.source_events.items():
        source = SourceState(name)
        for position, event_of_source in source_events:
            stored_event = MAPPER.event(*MAPPER.kind_and_payload(event_of_source))
            assert stored_event == event_of_source
            source = evolve_source(source, event_of_source, position)
        found = feed.draft.source(name)
        assert list(source.recent) == list(found.recent)
        assert msgspec.structs.replace(source, recent=found.recent) == found


@settings(max_examples=200)
@given(profiles, policies, histories)
def test_every_status_is_explained_by_its_events(profile: Profile, policy: Policy, history: list[Post]) -> None:
    feed = Feed(profile, policy).post_all(history)
    for uid, events in feed.user_events.items():
        presence, status = Presence(uid), "unknown"
        for position, event in events:
            assert event.status_before == status
            presence = evolve(presence, event, position)
            status = event.status_after
            assert presence.status == status
            assert (status == "online") == any(device.sessions for device in presence.devices)
            assert presence.flip is not None
            if event.status_before != status:
                assert position == presence.flip.cause.position or event.resumes == presence.flip.since
            shown = derive(presence, {}, event.received_at)
            assert shown.status == status
            parts = [derive_device([device], None) for device in presence.devices]
            assert ("online" in parts) == (status == "online")
        assert presence.version == len(events)


@settings(max_examples=100)
@given(profiles, histories)
def test_the_body_made_when_it_changes_is_the_one_made_when_it_is_asked_for(
    profile: Profile, history: list[Post]
) -> None:
    feed = Feed(profile).post_all(history)
    for presence in [Presence("nobody"), *feed.draft.presences.values()]:
        shown = derive(presence, feed.draft.sources, feed.at)
        assert plain_body(presence) == body(presence, shown, feed.draft.sources)


@settings(max_examples=100)
@given(
    profiles, policies, histories, st.sampled_from([0, SECOND, 30 * SECOND]), st.sampled_from(["lit", "down", "dark"])
)
def test_the_short_way_to_what_is_shown_comes_to_the_same(
    profile: Profile, policy: Policy, history: list[Post], later: int, node: str
) -> None:
    feed = Feed(profile, policy).post_all(history)
    sources, at = outage(feed, node), feed.at + later
    for presence in [Presence("nobody"), *feed.draft.presences.values()]:
        shown = derive(presence, sources, at)
        assert visible_at(presence, sources, at) == visible(presence, shown, sources)
        assert shown_body(presence, Rules(1, sources), at) == body(presence, shown, sources)


def outage(feed: Feed, node: str) -> dict[str, SourceState]:
    """The feed's sources, as they are, or since now with `n1` "down", or themselves "dark"."""
    sources = dict(feed.draft.sources)
    for name, source in sources.items() if node != "lit" else ():
        down = {"n1": NodeState(down_since=feed.at)} if node == "down" else {}
        sources[name] = msgspec.structs.replace(
            source, nodes=source.nodes | down, dark_since=feed.at if node == "dark" else None
        )
    return sources


@settings(max_examples=100)
@given(profiles, histories, st.sampled_from(["lit", "down", "dark"]))
def test_a_list_of_who_is_unknown_looks_at_each_of_them(profile: Profile, history: list[Post], node: str) -> None:
    feed = Feed(profile).post_all(history)
    sources = outage(feed, node)
    pattern = unknown_pattern(sources)
    assert (pattern is None) == (node == "lit")
    for presence in feed.draft.presences.values():
        if derive(presence, sources, feed.at).status == "unknown" != presence.status:
            assert pattern is not None
            assert re.search(pattern, device_tokens(presence))


@settings(max_examples=200)
@given(profiles, policies, histories, st.sampled_from(UIDS))
def test_users_do_not_touch_each_other(profile: Profile, policy: Policy, history: list[Post], uid: str) -> None:
    together, alone = Feed(profile, policy), Feed(profile, policy)
    for post in history:
        webhook = together.webhook(post)
        together.take(webhook)
        alone.take(only(webhook, uid))
    assert [judged(event) for _, event in together.user_events[uid]] == [
        judged(event) for _, event in alone.user_events[uid]
    ]


def only(webhook: ParsedWebhook, uid: str) -> ParsedWebhook:
    """The same delivery, by its digest, as if it named one user."""
    assert isinstance(webhook.elements, list)
    kept = [e for e in webhook.elements if isinstance(e.parsed, Claim) and e.parsed.uid == uid]
    return webhook._replace(elements=kept)


def judged(event: WebhookObserved) -> dict[str, Any]:
    """All of an event but the place of its item in the delivery."""
    fields = msgspec.structs.asdict(event)
    del fields["item"]
    return fields


@settings(max_examples=100)
@given(profiles, histories, histories, st.randoms(use_true_random=False))
def test_sources_do_not_touch_each_other(profile: Profile, main: list[Post], other: list[Post], random: Any) -> None:
    """However the deliveries of two sources interleave, each of them leaves the same devices behind."""
    streams = {
        "main": [post._replace(source="main", gap=0.5) for post in main],
        "other": [post._replace(source="other", gap=0.5) for post in other],
    }
    order = ["main"] * len(main) + ["other"] * len(other)
    random.shuffle(order)
    mixed = Feed(profile)
    apart = {"main": Feed(profile), "other": Feed(profile)}
    for name in order:
        webhook = mixed.webhook(streams[name].pop(0))
        mixed.take(webhook)
        apart[name].take(webhook)
    for name, feed in apart.items():
        for uid, presence in feed.draft.presences.items():
            found = [device for device in mixed.draft.presence(uid).devices if device.source == name]
            assert found == list(presence.devices)


@given(st.lists(st.tuples(st.sampled_from(NODES), st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 100))))
def test_recent_bodies_are_persistent(steps: list[tuple[str, str, int, int]]) -> None:
    """Every version, branches included, answers as a plain list of its own would."""
    versions = [(SourceState("main").recent, list[tuple[str, str, str, int]]())]
    for number, (node, digest, age, branch) in enumerate(steps):
        recent, model = versions[branch % len(versions)]
        at = max((entry[3] for entry in model), default=0) + age
        grown = recent.remember(node, digest, f"d{number}", at, at - 10)
        kept = [entry for entry in model if entry[3] >= at - 10]
        versions.append((grown, [*kept, (node, digest, f"d{number}", at)]))
    for recent, model in versions:
        assert len(recent) == len(model)
        for node in NODES:
            for digest in "abc":
                expected = [entry for entry in model if entry[:2] == (node, digest)]
                assert recent.find(node, digest, 0) == (expected[-1] if expected else None)
