"""Why a source is not good as far as its webhooks and its looks go: what is refused, never came, or cannot be seen."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from ledger.alerts.servers import same_servers
from ledger.domain.instants import to_text
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND, Instant
from ledger.domain.source import SourceState
from ledger.sources.wukongim.answers import TOKEN_REFUSED
from ledger.store.preflight import SKEW_SECONDS

LATELY_SECONDS = 300.0
"""A webhook that was refused longer ago says nothing of today."""


PASTE = "paste what `presence-ledger config wukongim` prints into the node"

MANY_STRANGERS = 20
"""So many users in a row whom webhooks named as online and queries do not find are not found by chance."""


class RefusedByNode(Protocol):
    """Webhooks that this instance refused of one node, for one reason."""

    @property
    def node(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def number(self) -> int: ...
    @property
    def last_at(self) -> float:
        """Seconds since 1970."""


def never_posted(state: SourceState, looks: Mapping[str, Any]) -> Iterator[str]:
    """A source that has never posted while its nodes hold connections."""
    made = looks.get("all_connections") or {}
    if state.last_webhook_at is None and made.get("connections"):
        yield (
            f"its nodes hold {made['connections']} connections, and no webhook has ever come from them: look at the "
            "webhook's address and secret on the nodes"
        )


def refused(state: SourceState, refusals: Iterable[RefusedByNode], now: Instant) -> Iterator[str]:
    """Nodes whose webhooks are refused, and none of which has been taken since."""
    for each in refusals:
        at = round(each.last_at * SECOND)
        heard = state.nodes.get(each.node, NodeState()).last_webhook_at or 0
        if heard <= at and now - at < LATELY_SECONDS * SECOND:
            if each.reason == "wrong_secret":
                yield (
                    f"{each.node}: its webhooks are refused (wrong secret; {each.number}, the last at {to_text(at)}): "
                    f"{PASTE}"
                )
            else:
                yield (
                    "webhooks whose path names a node that the settings do not have are refused "
                    f"({each.number}, the last at {to_text(at)}): add the node to the source, or {PASTE} that posts"
                )


def unconfirmed(state: SourceState, looks: Mapping[str, Any]) -> Iterator[str]:
    """A cluster of which no look can tell who has gone."""
    if not state.absence_tells and looks.get("all_connections") is None and looks:
        yield (
            "a row tells who is connected, and nothing who is not: for that, GET /connz of all nodes is needed, so "
            "give each node of the cluster an api_url"
        )


def wrong_servers(state: SourceState, noted: Mapping[str, Any], senders: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """Settings that name other servers than those that post; `senders`: what each instance found, by node."""
    for name, other in same_servers(state).items():
        if name < other:
            yield (
                f"{name} and {other}: the api_url of both leads to the same server, whose id is "
                f"{state.nodes[name].node_id}: give each its own"
            )
    for found in senders:
        for name, other in found.items():
            yield (
                f"{name}: webhooks under its name come from the address of {other}: {PASTE}, each its own address of "
                "the webhook"
            )
    strangers, since = noted.get("strangers") or 0, noted.get("strangers_since")
    heard = state.last_webhook_at
    if strangers >= MANY_STRANGERS and since is not None and heard is not None and to_text(heard) >= since:
        yield (
            f"of the last {strangers} users whom webhooks named as online, queries found nobody: does api_url lead to "
            "the cluster that posts?"
        )


def wrong_clock(name: str, api: Mapping[str, Any]) -> Iterator[str]:
    """A node whose clock is not ours: when it booted is told by it."""
    offset = api.get("clock_offset_seconds")
    if offset is not None and abs(offset) > SKEW_SECONDS:
        side = "ahead of" if offset > 0 else "behind"
        yield f"{name}: its clock is {abs(offset):.3g} s {side} ours: see to NTP on both machines"


def query_api(name: str, api: Mapping[str, Any], *, has_token: bool) -> Iterator[str]:
    """A node that does not answer our questions."""
    failures, probed = api.get("failures_in_a_row"), api.get("probe_reason")
    reason = api.get("last_reason") if failures else probed
    if TOKEN_REFUSED.reason in (reason, probed):
        what = "it refuses the token of the settings" if has_token else "it wants a token, and none is set"
        yield f"{name}: {what} (401): set `token` to the managerToken of its configuration"
    elif failures:
        yield f"{name}: its query API fails ({failures} in a row): {reason}"
    elif probed is not None:
        yield f"{name}: its last probe failed: {probed}"
    elif api.get("last_good_at") is None and api.get("last_good_probe_at") is None:
        yield f"{name}: its query API has not answered yet"
