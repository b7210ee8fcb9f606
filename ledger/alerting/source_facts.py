"""What alerts are decided on, of a source: its state in the ledger and what its leader noted."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ledger.alerting.instance_note import PostedCounts
from ledger.alerts.facts import CanaryFacts, DriftFacts, LossFacts, NodeFacts, SourceFacts
from ledger.alerts.servers import same_servers
from ledger.domain.instants import from_datetime, to_text
from ledger.domain.mismatch import Mismatch
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND, Instant
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState
from ledger.http.refusals import UNKNOWN
from ledger.settings import NodeSettings, SourceSettings
from ledger.sources.wukongim.answers import TOKEN_REFUSED

Noted = Mapping[str, Mapping[str, Any]]
"""By node, under "" of the source itself."""

Loss = Mapping[float, LossFacts]

LED_SECONDS = 15.0
"""The leading instance notes every second how a source fares: with an older note nobody reconciles it."""


def source_facts(
    settings: SourceSettings,
    state: SourceState,
    noted: Noted,
    counted: PostedCounts,
    canaries: Mapping[str, CanaryFacts],
    loss: Loss | None,
    now: Instant,
) -> SourceFacts:
    """A source of the settings. What nobody has noted lately says nothing of now."""
    noted_at = _instant(noted.get("", {}).get("noted_at"))
    is_led = noted_at is not None and now - noted_at <= LED_SECONDS * SECOND
    if not is_led:
        noted = {} if noted_at is None else _unled(settings, noted_at)
    of_source = noted.get("", {})
    recent = of_source.get("recent") or {}
    strangers_since = _instant(of_source.get("strangers_since"))
    heard = state.last_webhook_at or 0
    return SourceFacts(
        name=settings.name,
        nodes=[_node_facts(settings, node, state, noted, counted, canaries) for node in settings.nodes],
        is_led=is_led,
        dark_since=state.dark_since,
        breaker_until=state.breaker_until,
        untold_users=of_source.get("untold_users") or 0,
        untold_since=_instant(of_source.get("untold_since")),
        last_webhook_at=state.last_webhook_at,
        listening_since=_instant(of_source.get("listening_since")),
        looks_tell=bool(of_source.get("strangers_told")),
        counting_seconds=recent.get("seconds", 0.0),
        strangers=of_source["strangers"] if strangers_since is not None and heard >= strangers_since else 0,
        forbidden=counted.forbidden.get((settings.name, UNKNOWN), 0),
        looked=recent.get("looked") or 0,
        drifts=[DriftFacts(**each) for each in recent.get("drifts") or ()],
        loss=loss,
    )


def _unled(settings: SourceSettings, since: Instant) -> Noted:
    """What is to be said of a source that nobody reconciles any more: that its nodes are asked nothing."""
    reason = f"no instance reconciles {settings.name} since {to_text(since)}"
    return {node.name: {"probe_reason": reason} for node in settings.nodes}


def _node_facts(
    settings: SourceSettings,
    node: NodeSettings,
    state: SourceState,
    noted: Noted,
    counted: PostedCounts,
    canaries: Mapping[str, CanaryFacts],
) -> NodeFacts:
    name, known = node.name, state.nodes.get(node.name, NodeState())
    # What was noted of a node that is asked no longer stays as it was.
    api = (noted.get(name) or {}) if node.api_url else {}
    failures = api.get("failures_in_a_row") or 0
    reason = (api.get("last_reason") if failures else None) or api.get("probe_reason")
    refused = reason == TOKEN_REFUSED.reason
    signs = (noted.get("", {}).get("profile_signs") or {}).get(name)
    silent = (noted.get("", {}).get("silent_nodes") or {}).get(name) or {}
    return NodeFacts(
        name=name,
        profile=state.node_profiles.get(name, settings.profile_for(node)).value,
        down_since=known.down_since if known.swept else None,
        failing=reason is not None,
        failures=failures,
        reason=reason or "",
        token=("refused" if node.token else "missing") if refused else "good",
        counts_tell=name in (noted.get("", {}).get("profile_told") or ()),
        mismatch=None if signs is None else _mismatch(signs),
        same_server_as=same_servers(state).get(name),
        posts_as_other=counted.posts_as_other.get((settings.name, name)),
        posts_tell=(settings.name, name) in counted.posted,
        forbidden=counted.forbidden.get((settings.name, name), 0),
        untold_users=silent.get("untold_users") or 0,
        untold_since=_instant(silent.get("untold_since")),
        last_webhook_at=known.last_webhook_at,
        clock_offset_seconds=api.get("clock_offset_seconds"),
        canary=canaries.get(name),
    )


def _mismatch(signs: list[Any]) -> Mismatch:
    what, against, number, likely = signs
    return Mismatch(what, against, number, tuple(Profile(each) for each in likely))


def _instant(text: str | None) -> Instant | None:
    return None if text is None else from_datetime(datetime.fromisoformat(text))
