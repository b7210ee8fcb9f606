"""Explaining a status: whether it called for a push notification."""

from collections.abc import Mapping

from ledger.domain.events import WebhookObserved
from ledger.domain.evidence import Evidence
from ledger.domain.explain_later import open_drifts
from ledger.domain.observation import Instant
from ledger.domain.reach import Mark, PushAdvice, reach
from ledger.domain.reach_policy import ReachPolicy
from ledger.domain.statement import Facts, Statement, say


def reach_statement(evidence: Evidence, answer: PushAdvice | None, policy: ReachPolicy) -> Statement:
    """What is said of it; `answer` None: it depended on what is not kept."""
    if answer is None:
        return say("reach_untold", evidence.presence.position)
    if answer.because == "never_observed":
        return say("reach_never_observed", *evidence.searched)
    bounded = answer.because in ("online", "unverified")
    facts: Facts = {"verified_seconds": policy.reach_verified_seconds} if bounded else {}
    return say(f"reach_{answer.because}", evidence.presence.position, **facts)


def answer_then(evidence: Evidence, verified: Mapping[str, Instant], policy: ReachPolicy) -> PushAdvice | None:
    """What the rule comes to at the instant asked about. `verified` are the last looks that agreed, by source.

    Of looks the last one alone is kept, and what settled a suspicion is not: None where the answer depends on these.
    """
    names = {device.source for device in evidence.presence.devices}
    drifted = {placed.source for placed, _, _ in open_drifts(evidence)}
    least, most = {}, {}
    for name in names:
        last = verified.get(name)
        kept = last if last is not None and last <= evidence.at else None
        suspect = any(
            isinstance(placed.event, WebhookObserved)
            and placed.event.suspect is not None
            and placed.event.source == name
            and (kept is None or placed.event.received_at >= kept)
            for placed in evidence.before
        )
        least[name] = Mark(kept, name in drifted, suspect)
        most[name] = Mark(kept if last is None or kept is not None else evidence.at, name in drifted)
    answers = [reach(evidence.presence, evidence.sources, marks, evidence.at, policy).answer for marks in (most, least)]
    return answers[0] if answers[0].push == answers[1].push else None
