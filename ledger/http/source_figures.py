"""The sources' figures for `/metrics`: how they and their nodes stand, by the ledger and by what its leader notes."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from ledger.domain.instants import from_datetime
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND
from ledger.domain.source import SourceState
from ledger.settings import SourceSettings

Noted: TypeAlias = Mapping[str, Mapping[str, Any]]
"""What the leading instance noted of a source, by node; under "" of the source itself."""

NodeStanding = Literal["up", "down", "settling", "api_failing", "not_asked", "not_known"]
"""Answers; does not; has booted, and who was connected is still looked at; its query API fails; it has no `api_url`;
nobody has asked it yet."""
STANDINGS: tuple[NodeStanding, ...] = get_args(NodeStanding)


def node_standing(state: NodeState, noted: Mapping[str, Any] | None, *, is_asked: bool) -> NodeStanding:
    """How a node stands: what is on record of it first, then what was noted."""
    if state.down_since is not None and state.swept:
        return "down"
    if not state.swept:
        return "settling"
    if not is_asked:
        return "not_asked"
    if noted is None:
        return "not_known"
    if noted.get("failures_in_a_row") or noted.get("probe_reason") is not None:
        return "api_failing"
    return "up" if noted.get("last_good_at") or noted.get("last_good_probe_at") else "not_known"


class SourceFamilies:
    """The families, and what is added of each source."""

    def __init__(self) -> None:
        self._dark = _gauge("source_dark", "1 while nothing is known of the source", "source")
        self._breaker = _gauge("breaker_open", "1 while corrections to offline are held", "source")
        self._silent = _gauge("webhooks_silent", "1 while webhooks stop and queries answer", "source")
        self._due = _gauge("looks_due", "Users whose look is due, counted up to 100,000", "source")
        self._reconciled = _gauge(
            "reconciled_timestamp_seconds", "When an instance last said that it reconciles the source", "source"
        )
        self._webhook = _gauge("last_webhook_timestamp_seconds", "When a node's last webhook came", "source", "node")
        self._query = _gauge("last_query_timestamp_seconds", "When a node last answered a query well", "source", "node")
        self._up = _gauge("node_up", "0 while a node is down, so that its users are in doubt", "source", "node")
        self._standing = _gauge(
            "node_state", "1 for the state that a node is in, 0 for others", "source", "node", "state"
        )
        self._mismatch = _gauge(
            "profile_mismatch", "1 where the counts in a node's webhooks are not those of its profile", "source", "node"
        )

    def all(self) -> Sequence[Metric]:
        """As filled."""
        return [each for each in vars(self).values() if isinstance(each, Metric)]

    def add(self, settings: SourceSettings, state: SourceState, noted: Noted) -> None:
        """A source of the settings, its state in the ledger, and what its leader noted."""
        name, of_source = settings.name, noted.get("", {})
        self._dark.add_metric([name], state.dark_since is not None)
        self._breaker.add_metric([name], state.breaker_until is not None)
        self._silent.add_metric([name], bool(of_source.get("webhooks_silent")))
        if (due := of_source.get("looks_due")) is not None:
            self._due.add_metric([name], due)
        _add_instant(self._reconciled, [name], of_source.get("noted_at"))
        mismatches = of_source.get("profile_mismatches") or {}
        for node in settings.nodes:
            self._add_node(name, node.name, state, noted.get(node.name), is_asked=bool(node.api_url))
            self._mismatch.add_metric([name, node.name], node.name in mismatches)

    def _add_node(
        self, source: str, node: str, state: SourceState, noted: Mapping[str, Any] | None, *, is_asked: bool
    ) -> None:
        labels, known = [source, node], state.nodes.get(node, NodeState())
        if known.last_webhook_at is not None:
            self._webhook.add_metric(labels, known.last_webhook_at / SECOND)
        # What was noted of a node that is asked no longer stays as it was.
        answers = (noted or {}) if is_asked else {}
        good = [at for at in map(answers.get, ("last_good_at", "last_good_probe_at")) if at is not None]
        _add_instant(self._query, labels, max(good, default=None))
        # One that settles after its boot answers: `node_state` tells of it.
        self._up.add_metric(labels, not (known.down_since is not None and known.swept))
        standing = node_standing(known, noted, is_asked=is_asked)
        for each in STANDINGS:
            self._standing.add_metric([*labels, each], each == standing)


def families(
    settings: Iterable[SourceSettings], states: Mapping[str, SourceState], noted: Mapping[str, Noted]
) -> Sequence[Metric]:
    """Of the sources whose states can be read."""
    made = SourceFamilies()
    for source in settings:
        if (state := states.get(source.name)) is not None:
            made.add(source, state, noted.get(source.name, {}))
    return made.all()


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"presence_ledger_{name}", text, labels=labels)


def _add_instant(family: GaugeMetricFamily, labels: Sequence[str], at: str | None) -> None:
    if at is not None:
        family.add_metric(labels, from_datetime(datetime.fromisoformat(at)) / SECOND)
