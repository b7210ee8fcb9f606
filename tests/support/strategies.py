"""Random deliveries, and a draft that takes them: sources in memory, events kept in their order."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from ledger.domain.event_types import SourceEvent
from ledger.domain.events import Configured, WebhookObserved
from ledger.domain.observation import SECOND, Claim, Instant
from ledger.domain.policy import DEFAULT_POLICY, Policy
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import NodeBooted
from ledger.domain.source import SourceState
from ledger.ingest.draft import Draft, ParsedWebhook, read_webhook
from ledger.simulator.sender import encode
from ledger.store.mapper import Recorded, source_stream
from tests.support.scenario import format_item

STARTED_AT: Instant = 1_800_000_000 * SECOND
SOURCES = ("main", "other")
NODES = ("n1", "n2")
UIDS = ("a", "b-0-1", "用户")

uids = st.text(min_size=1, max_size=40).filter(
    lambda uid: "\0" not in uid and not any("\ud800" <= c <= "\udfff" for c in uid)
)
numbers = st.integers(0, 2**63 - 1)
claims = st.builds(Claim, uids, st.integers(0, 255), st.booleans(), numbers, numbers, numbers)

small_claims = st.builds(
    Claim,
    st.sampled_from(["a", "a", "a", *UIDS]),
    st.sampled_from([0, 0, 1]),
    st.booleans(),
    st.integers(1, 4),
    st.sampled_from([0, 0, 1, 1, 2, 3]),
    st.sampled_from([0, 0, 1, 1, 2, 4]),
)
"""Of few users and few connections, so that they meet."""

items = st.one_of(small_claims.map(format_item), st.just("no claim"))
gaps = st.sampled_from([0.0, 0.5, 2.0, 2.000001, 9.0, 60.0, 60.000001])
"""Seconds between deliveries, at the edges of the windows."""


class Post(NamedTuple):
    """One delivery, so many seconds after the one before."""

    gap: float
    source: str
    node: str
    items: tuple[str, ...]


posts = st.builds(
    Post,
    gaps,
    st.sampled_from(["main", *SOURCES]),
    st.sampled_from(["n1", *NODES]),
    st.lists(items, max_size=4).map(tuple),
)
histories = st.lists(posts, max_size=12)
policies = st.sampled_from([DEFAULT_POLICY, Policy(grace_seconds=5.0), Policy(reorder_seconds=0.0)])
profiles = st.sampled_from(Profile)


class Feed:
    """A draft on empty states, its two sources configured, with every event that it made."""

    def __init__(self, profile: Profile, policy: Policy = DEFAULT_POLICY, nodes: Sequence[str] = NODES) -> None:
        self.at = STARTED_AT
        self.draft = Draft({name: SourceState(name) for name in SOURCES}, {}, 0)
        self.source_events: dict[str, list[tuple[int, SourceEvent]]] = defaultdict(list)
        self.user_events: dict[str, list[tuple[int, WebhookObserved]]] = defaultdict(list)
        for name in SOURCES:
            configured = Configured(
                at=self.at,
                instance="i",
                policy=policy,
                profile=profile,
                nodes=dict.fromkeys(nodes, profile),
                rules_version=1,
            )
            self._keep(self.draft.append_to_source(name, configured))
        self._number = 0

    def webhook(self, post: Post) -> ParsedWebhook:
        """The delivery as ingest reads it, at its instant."""
        self.at += round(post.gap * SECOND)
        self._number += 1
        return read_webhook(f"d{self._number}", post.source, post.node, self.at, encode(post.items), 65536)

    def take(self, webhook: ParsedWebhook) -> None:
        """Judge a delivery and keep its events."""
        for recorded in self.draft.add(webhook):
            self._keep(recorded)

    def post(self, post: Post) -> None:
        """Judge a delivery of the next instant."""
        self.take(self.webhook(post))

    def post_all(self, history: Iterable[Post]) -> "Feed":
        for post in history:
            self.post(post)
        return self

    def boots(self, node: str) -> None:
        """A probe has proven a boot of the node, just now."""
        event = NodeBooted(node=node, at=self.at, earliest=self.at, latest=self.at, route="/varz")
        self._keep(self.draft.append_to_source("main", event))

    def statuses(self) -> dict[str, str]:
        """By evidence, of every user named so far."""
        return {uid: presence.status for uid, presence in self.draft.presences.items()}

    def devices_online(self) -> dict[str, set[tuple[str, str, int | None]]]:
        """Which devices of every user named so far have a session."""
        return {
            uid: {(d.source, d.scope, d.device_flag) for d in presence.devices if d.sessions}
            for uid, presence in self.draft.presences.items()
        }

    def _keep(self, recorded: Recorded) -> None:
        if isinstance(recorded.event, WebhookObserved):
            assert recorded.uid is not None
            self.user_events[recorded.uid].append((self.draft.head, recorded.event))
        else:
            assert isinstance(recorded.event, SourceEvent)
            name = recorded.originator_id.removeprefix(source_stream(""))
            self.source_events[name].append((self.draft.head, recorded.event))
