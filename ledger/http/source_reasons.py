"""Why a source is not good as far as its webhooks and its looks go: what is refused, never came, or cannot be seen."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from ledger.domain.instants import to_text
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND, Instant
from ledger.domain.source import SourceState

LATELY_SECONDS = 300.0
"""A webhook that was refused longer ago says nothing of today."""


class Refused(Protocol):
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


def refused(state: SourceState, refusals: Iterable[Refused], now: Instant) -> Iterator[str]:
    """Nodes whose webhooks are refused, and none of which has been taken since."""
    for each in refusals:
        at = round(each.last_at * SECOND)
        heard = state.nodes.get(each.node, NodeState()).last_webhook_at or 0
        if heard <= at and now - at < LATELY_SECONDS * SECOND:
            reason = each.reason.replace("_", " ")
            yield f"{each.node}: its webhooks are refused ({reason}; {each.number}, the last at {to_text(at)})"


def unconfirmed(state: SourceState, looks: Mapping[str, Any]) -> Iterator[str]:
    """A cluster of which no look can tell who has gone."""
    if not state.absence_tells and looks.get("all_connections") is None and looks:
        yield (
            "a row tells who is connected, and nothing who is not: for that, GET /connz of all nodes is needed, so "
            "give each node of the cluster an api_url"
        )
