"""How sure it is that what was shown was so, and why."""

from collections.abc import Iterator
from typing import NamedTuple

from ledger.domain.events import WebhookObserved
from ledger.domain.evidence import Evidence, Placed
from ledger.domain.explain_later import contradictions, late_offlines, open_drifts
from ledger.domain.explain_limits import gaps_between, silencing_profile
from ledger.domain.explain_override import word_confidence
from ledger.domain.imported import PresenceImported
from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciliation_events import Corrected, Swept
from ledger.domain.statement import Facts, Level, Statement, say

UNDERWAY_SECONDS = 2.0
"""A webhook comes so long after what it tells, as a rule: of so long before it nothing is certain."""


class Confidence(NamedTuple):
    """The level, and the statement that gives the reason."""

    level: Level
    statement: Statement


def confidence(evidence: Evidence) -> Confidence:
    """The first that holds: nothing was claimed; an operator said it; it was refuted; it was confirmed; it is in
    doubt; it was unopposed.
    """
    if evidence.shown.reason is not None:
        return _unknown(evidence)
    if evidence.is_overridden:
        said = word_confidence(evidence)
        return Confidence("likely" if said.code == "likely_override" else "doubtful", said)
    return _refuted(evidence) or _confirmed(evidence) or _doubtful(evidence) or _likely(evidence)


def _unknown(evidence: Evidence) -> Confidence:
    reason = evidence.shown.reason
    doubt = evidence.doubt()
    places = evidence.searched if doubt is None else (doubt.position,)
    return _sure("unknown", f"unknown_{reason}", *places)


def _sure(level: Level, code: str, *positions: int, **params: str | float | None) -> Confidence:
    return Confidence(level, say(code, *positions, level=level, **params))


def _refuted(evidence: Evidence) -> Confidence | None:
    """What is said of the instant today is something else, or may be."""
    against = list(_against(evidence))
    places = [placed.position for placed in against] or [evidence.head]
    between, now = evidence.uncertain, evidence.now.status
    if now == "unknown":
        return _sure("doubtful", "doubtful_unknown_today", *places)
    if now != evidence.shown.status and any(_had_come(placed, evidence) for placed in against):
        return _sure("refuted", "refuted", *places, status=now)
    if now != evidence.shown.status:
        return _sure("doubtful", "doubtful_rules", evidence.head, status=now)
    if between is not None:
        facts: Facts = {"earliest": between.earliest, "latest": between.latest, "could_be": between.could_be}
        return _sure("doubtful", "doubtful_between", *places, **facts)
    come = max((placed for placed in against if placed.uid and _had_come(placed, evidence)), default=None)
    if evidence.shown.status == "online" and getattr(come and come.event, "status_after", "online") != "online":
        # Only the grace period lets the answer be the same today. Of who was shown offline an event may say online all
        # the same: it tells of when it was recorded, by when another connection had opened.
        assert come is not None
        return _sure("doubtful", "doubtful_grace", come.position)
    return None


def _against(evidence: Evidence) -> Iterator[Placed]:
    """What speaks against it: what had arrived and was not known, what has bounds around, what was on its way."""
    for placed in evidence.after:
        event = placed.event
        if isinstance(event, WebhookObserved) and event.received_at <= evidence.at:
            yield placed
    yield from contradictions(evidence)
    for placed, _, finding in evidence.findings():
        if finding.outcome == "in_flight" and (finding.agreed_at is None or finding.agreed_at < evidence.at):
            yield placed


def _had_come(placed: Placed, evidence: Evidence) -> bool:
    """Whether what was recorded later had come about by the instant."""
    event = placed.event
    latest = event.disagreed_at if isinstance(event, Corrected) else event.latest if isinstance(event, Swept) else None
    latest = event.received_at if isinstance(event, WebhookObserved) else latest
    return latest is not None and latest <= evidence.at


def _confirmed(evidence: Evidence) -> Confidence | None:
    change = evidence.change()
    for placed in (*evidence.unchanged(), *(() if change is None else (change,))):
        if evidence.shown.status == "online" and (seen_at := _seen_after(evidence, placed)) is not None:
            return _sure("certain", "certain_seen_after", placed.position, received_at=seen_at)
        agreed_at = _agreed_after(evidence, placed)
        if agreed_at is not None and agreed_at > evidence.at:
            return _sure("certain", "certain_agreed_after", placed.position, agreed_at=agreed_at)
    return None


def _seen_after(evidence: Evidence, placed: Placed) -> Instant | None:
    """When a connection that was open at the instant was heard of again, if an event says so."""
    event = placed.event
    if not isinstance(event, WebhookObserved) or event.repeated:
        return None
    device = evidence.presence.device(event.source, event.scope, event.device_flag)
    session = None if device is None else device.session(event.conn_id)
    if session is None or event.verdict not in ("closed", "duplicate"):
        return None
    # It was connected a moment before it was said to have gone.
    margin = 0 if event.online else round(UNDERWAY_SECONDS * SECOND)
    return event.received_at if event.received_at - margin > evidence.at else None


def _agreed_after(evidence: Evidence, placed: Placed) -> Instant | None:
    """The last evidence or look that agreed before a correction or a sweep of what was shown."""
    match placed.event:
        case Corrected(agreed_at=agreed_at, drift=str(), status_before=before) if before == evidence.shown.status:
            return agreed_at
        case Swept(earliest=earliest, status_before=before) if before == evidence.shown.status:
            return earliest
        case _:
            return None


def _doubtful(evidence: Evidence) -> Confidence | None:
    """Nothing has decided it, and there is a reason to doubt."""
    cause = evidence.event_for(evidence.shown.cause)
    for placed, _, finding in open_drifts(evidence):
        return _sure("doubtful", "doubtful_drift", placed.position, disagreed_at=finding.disagreed_at)
    for gap in gaps_between(evidence)[-1:]:
        return _sure("doubtful", "doubtful_down", *gap.positions, since=gap.since, until=gap.until)
    for placed in late_offlines(evidence):
        return _sure("doubtful", "doubtful_late_offline", placed.position)
    if evidence.in_grace and evidence.reported is not None:
        return _sure("doubtful", "doubtful_grace", evidence.reported.position)
    if cause is not None and isinstance(cause.event, WebhookObserved) and cause.event.suspect is not None:
        return _sure("doubtful", "doubtful_suspect", cause.position, suspect=cause.event.suspect)
    if evidence.shown.status == "online" and silencing_profile(evidence) is not None:
        return _sure("doubtful", "doubtful_mute", evidence.presence.position)
    return None


def _likely(evidence: Evidence) -> Confidence:
    cause = evidence.event_for(evidence.shown.cause)
    if cause is None or isinstance(cause.event, PresenceImported):
        return _sure("likely", "likely_before_record", evidence.presence.position)
    match cause.event:
        case Corrected(looks=looks):
            return _sure("likely", "likely_look", cause.position, looks=looks)
        case Swept():
            return _sure("likely", "likely_sweep", cause.position)
        case _:
            return _sure("likely", "likely_unopposed", cause.position)
