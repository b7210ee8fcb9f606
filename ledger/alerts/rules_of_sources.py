"""The rules of the sources' alerts."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial, wraps
from typing import Any

from ledger.alerts.condition import HOLDS, NOT, Condition, Key, share_of
from ledger.alerts.facts import AlertFacts, DriftFacts, LossFacts, NodeFacts, SourceFacts
from ledger.domain.alert_events import SERVICE, Figures
from ledger.domain.instants import to_text
from ledger.domain.observation import SECOND, Instant

Of = Callable[[str], float]
"""The alert's own thresholds."""

Rule = Callable[[AlertFacts, Of], Iterable[Condition] | None]


def _of_each(rule: Callable[[SourceFacts, Instant, Of], Iterable[Condition]]) -> Rule:
    """The rule of a source as one of all of them."""

    @wraps(rule)
    def of_all(facts: AlertFacts, of: Of) -> Iterable[Condition] | None:
        if facts.sources is None:
            return None
        return [condition for source in facts.sources for condition in rule(source, facts.at, of)]

    return of_all


def _of_each_node(name: str, figures: Callable[[NodeFacts], Figures | None]) -> Rule:
    """The rule that a node's figures are not to be there."""

    def rule(source: SourceFacts, _: Instant, __: Of) -> Iterator[Condition]:
        for node in source.nodes:
            if (found := figures(node)) is not None:
                yield Condition(Key(name, source.name, node.name), HOLDS, found)

    return _of_each(rule)


def _drift_rate(source: SourceFacts, _: Instant, of: Of) -> Iterator[Condition]:
    for drift in source.drifts:
        looked = max(source.looked, drift.users)
        share = drift.users / looked if looked else 0.0
        level = min(share_of(share, of("share")), share_of(drift.users, of("users")))
        figures: Figures = {
            "users": drift.users,
            "looked": looked,
            "drift_share": round(share, 4),
            "window_seconds": of("window_seconds"),
            "why": f"drift_{drift.cause}",
            **_of_cause(drift),
        }
        incident = f"boot {drift.boot}" if drift.boot else ""
        yield Condition(Key("drift_rate", source.name, drift.node, incident), level, figures)


def _of_cause(drift: DriftFacts) -> Figures:
    return {"node": drift.node} if drift.node else dict(drift.causes)


def _webhook_loss_budget(facts: AlertFacts, of: Of) -> Iterable[Condition] | None:
    if facts.sources is None or any(source.loss is None for source in facts.sources):
        return None
    return [_loss_of(source.name, source.loss or {}, of) for source in facts.sources]


def _loss_of(name: str, loss: Mapping[float, LossFacts], of: Of) -> Condition:
    """The pair of windows in which it burns fastest."""
    key, nothing = Key("webhook_loss_budget", name), LossFacts(0, 0)
    found = []
    for pair in ("fast", "slow"):
        long = loss.get(of(f"{pair}_window_seconds"), nothing)
        short = loss.get(of(f"{pair}_short_seconds"), nothing)
        burns = [share_of(each.share, of("share")) for each in (long, short)]
        level = min(*(share_of(burn, of(f"{pair}_burn")) for burn in burns), share_of(long.lost, of("lost")))
        figures: Figures = {
            "lost": long.lost,
            "transitions": long.transitions,
            "window_seconds": of(f"{pair}_window_seconds"),
            "loss_share": round(long.share, 6),
            "budget_share": of("share"),
            "burn_rate": round(burns[0], 2),
        }
        found.append(Condition(key, level, figures))
    return max(found, key=lambda each: each.known_level)


def _webhooks_silent(source: SourceFacts, at: Instant, of: Of) -> Iterator[Condition]:
    yield _silence(Key("webhooks_silent", source.name), source, source.listening_since, at, of)
    # A node's rhythm is one among those of others: where all fall silent at once, no node is told of by itself.
    for node in source.nodes:
        yield _silence(Key("webhooks_silent", source.name, node.name), node, source.listening_since, at, of)


def _silence(key: Key, heard: SourceFacts | NodeFacts, listening: Instant | None, at: Instant, of: Of) -> Condition:
    since, last = heard.untold_since, heard.last_webhook_at
    enough = share_of(heard.untold_users, of("users")) >= HOLDS
    if since is None or not enough or (at - since) / SECOND < of("after_seconds"):
        # One who has just begun to listen, and has heard nothing, does not know that they come.
        known = listening is None or (last is not None and last >= listening)
        return Condition(key, NOT if known else None)
    figures: Figures = {"users": heard.untold_users, "last_webhook_at": "" if last is None else to_text(last)}
    figures |= {"why": "silent_node", "node": key.subject} if key.subject else {"why": "silent_source"}
    return Condition(key, HOLDS, figures, since)


def _query_api_failing(node: NodeFacts) -> Figures | None:
    # Of a node that is down, and of one that wants a token, other alerts say more.
    if not node.failing or node.down_since is not None or node.token != "good":  # noqa: S105
        return None
    return {"failures": node.failures, "reason": node.reason}


def _source_dark(source: SourceFacts, _: Instant, __: Of) -> Iterator[Condition]:
    if (since := source.dark_since) is not None:
        yield Condition(Key("source_dark", source.name), HOLDS, {"dark_since_at": to_text(since)}, since)


def _node_down(source: SourceFacts, _: Instant, __: Of) -> Iterator[Condition]:
    for node in source.nodes:
        if (since := node.down_since) is not None:
            figures: Figures = {"down_since_at": to_text(since)}
            yield Condition(Key("node_down", source.name, node.name), HOLDS, figures, since)


def _breaker_open(source: SourceFacts, _: Instant, __: Of) -> Iterator[Condition]:
    if (until := source.breaker_until) is not None:
        yield Condition(Key("breaker_open", source.name), HOLDS, {"until_at": to_text(until)})


def _canary_late(source: SourceFacts, at: Instant, of: Of) -> Iterator[Condition]:
    for node in source.nodes:
        if (canary := node.canary) is not None:
            # One that comes seldom is late once three of its visits have failed.
            after = max(of("after_seconds"), 3 * canary.every_seconds)
            late = share_of((at - canary.last_seen_at) / SECOND, after)
            figures: Figures = {"last_seen_at": to_text(canary.last_seen_at), "reason": canary.reason}
            level = late if late >= HOLDS else NOT
            yield Condition(Key("canary_late", source.name, node.name), level, figures, canary.last_seen_at)


def _profile_mismatch(source: SourceFacts, _: Instant, __: Of) -> Iterator[Condition]:
    for node in source.nodes:
        key = Key("profile_mismatch", source.name, node.name)
        if (found := node.mismatch) is None:
            yield Condition(key, NOT if node.counts_tell else None)
            continue
        figures: Figures = {
            "profile": node.profile,
            "why": found.what,
            "against": found.against,
            "signs": found.signs,
            "likely": ", ".join(found.likely),
        }
        yield Condition(key, HOLDS, figures)


def _webhook_secret_unknown(facts: AlertFacts, of: Of) -> Iterable[Condition] | None:
    if facts.sources is None:
        return None
    found = [(SERVICE, "", "unknown_source", facts.forbidden)]
    for source in facts.sources:
        found.append((source.name, "", "unknown_node", source.forbidden))
        found += [(source.name, node.name, "unknown_secret", node.forbidden) for node in source.nodes]
    return [
        Condition(
            Key("webhook_secret_unknown", source, node),
            share_of(number, of("deliveries")),
            {"deliveries": number, "window_seconds": of("window_seconds"), "why": why, "node": node},
        )
        for source, node, why, number in found
        if number
    ]


def _wrong_cluster(source: SourceFacts, _: Instant, of: Of) -> Iterator[Condition]:
    key = partial(Key, "wrong_cluster", source.name)
    level = share_of(source.strangers, of("users")) if source.looks_tell else None
    yield Condition(key(), level, {"why": "strangers", "users": source.strangers})
    for node in source.nodes:
        # Where two addresses lead is known without a post, so that the end of one cause waits for nothing of the other.
        for why, other, is_known in (
            ("same_server", node.same_server_as, True),
            ("posts_as_other", node.posts_as_other, node.posts_tell),
        ):
            if other is None:
                yield Condition(key(node.name, why), NOT if is_known else None)
            else:
                figures: Figures = {"why": why, "node": node.name, "other_node": other}
                yield Condition(key(node.name, why), HOLDS, figures)


def _token_missing(node: NodeFacts) -> Figures | None:
    return None if node.token == "good" else {"why": f"token_{node.token}"}  # noqa: S105


RULES: Mapping[str, Any] = {
    "drift_rate": _of_each(_drift_rate),
    "webhook_loss_budget": _webhook_loss_budget,
    "webhooks_silent": _of_each(_webhooks_silent),
    "query_api_failing": _of_each_node("query_api_failing", _query_api_failing),
    "source_dark": _of_each(_source_dark),
    "node_down": _of_each(_node_down),
    "breaker_open": _of_each(_breaker_open),
    "canary_late": _of_each(_canary_late),
    "profile_mismatch": _of_each(_profile_mismatch),
    "webhook_secret_unknown": _webhook_secret_unknown,
    "wrong_cluster": _of_each(_wrong_cluster),
    "token_missing": _of_each_node("token_missing", _token_missing),
}
