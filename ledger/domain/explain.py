"""Explaining a status: the headline, the event behind it and its rule; the rest of the statements, put in order.

Everything is said from what was gathered. A statement's code has a sentence in each language's catalogue.
"""

from collections.abc import Iterable

from ledger.domain.codes import ORDER, RULES
from ledger.domain.confidence import confidence
from ledger.domain.event_types import Event
from ledger.domain.events import SessionId, Status, WebhookObserved
from ledger.domain.evidence import Evidence, Placed
from ledger.domain.explain_chain import chain
from ledger.domain.explain_later import alternatives, later
from ledger.domain.explain_limits import limits
from ledger.domain.explain_override import word_cause, word_headline, word_rule
from ledger.domain.observation import Claim, parse_item
from ledger.domain.reconciliation_events import Corrected, NodeBooted, NodeDown, SourceDark, Swept
from ledger.domain.statement import Explanation, Facts, Statement, say


def explain(evidence: Evidence, also: Iterable[Statement] = ()) -> Explanation:
    """What is to be said of the status at that instant: the answer first, then why, then all that speaks of it.

    `also`: what was said of it by other rules.
    """
    sure = confidence(evidence)
    statements = [
        *_status(evidence),
        sure.statement,
        *_cause(evidence),
        *_rule(evidence),
        *chain(evidence),
        *later(evidence),
        *limits(evidence),
        *alternatives(evidence),
        *also,
    ]
    return Explanation(
        uid=evidence.uid,
        at=evidence.at,
        position=evidence.position,
        shown=evidence.shown,
        confidence=sure.level,
        statements=tuple(sorted(statements, key=lambda each: ORDER[each.about])),
    )


def _status(evidence: Evidence) -> list[Statement]:
    """The headline, and as of when it is known where that is later than the instant itself."""
    said = [_headline(evidence)]
    if evidence.position > evidence.recorded and evidence.known_at is not None:
        said.append(say("with_hindsight", evidence.position, known_at=evidence.known_at))
    elif evidence.position > evidence.recorded:
        said.append(say("with_hindsight_at_position", evidence.position, known_position=evidence.position))
    return said


def _headline(evidence: Evidence) -> Statement:
    shown = evidence.shown
    if shown.reason == "never_observed":
        return say("shown_never_observed" if evidence.searched else "shown_nothing_recorded", *evidence.searched)
    if shown.reason is not None:
        return _doubt_headline(evidence)
    if evidence.is_overridden:
        return word_headline(evidence)
    assert shown.cause is not None
    assert shown.since is not None
    if evidence.in_grace:
        reported = evidence.presence.flip
        assert reported is not None
        return say(
            "shown_in_grace",
            shown.cause.position,
            reported.cause.position,
            since=shown.since,
            reported_at=reported.since,
        )
    cause = evidence.event_for(shown.cause)
    if cause is None:
        place = evidence.presence.position
        return say("shown_before_record", place, status=shown.status, since=shown.since)
    facts: Facts = {"status": shown.status, "since": shown.since, **_headline_params(cause.event)}
    return say(_headline_code(cause.event, shown.status), cause.position, **facts)


def _doubt_headline(evidence: Evidence) -> Statement:
    shown, doubt = evidence.shown, evidence.doubt()
    match None if doubt is None else doubt.event:
        case SourceDark():
            assert doubt is not None
            return say("shown_source_dark", doubt.position, since=shown.since, source=doubt.source)
        case NodeDown(node=node) | NodeBooted(node=node):
            assert doubt is not None
            return say("shown_node_down", doubt.position, since=shown.since, node=node)
        case _:
            return say("shown_in_doubt", evidence.presence.position, since=shown.since)


HEADLINES = {
    ("missed", "online"): "shown_missed",
    ("ghost", "offline"): "shown_ghost",
    ("after_boot", "offline"): "shown_after_boot",
    ("absent", "offline"): "shown_absent",
    ("restart", "offline"): "shown_restart",
    ("node_retired", "offline"): "shown_node_retired",
}
"""By what a look or a node's end found and what it left; anything else is told in general terms."""


def _headline_code(event: Event, status: Status) -> str:
    match event:
        case WebhookObserved():
            return _item_code(event)
        case Corrected(rule=rule):
            return HEADLINES.get((rule.partition("_")[2], status), "shown_corrected")
        case Swept(rule=rule):
            return HEADLINES.get((rule, status), "shown_corrected")
        case _:
            return "shown_before_record"


def _item_code(event: WebhookObserved) -> str:
    """Why an item changed the status: by its own connection, or by what its counts said of others."""
    if event.status_after == "online":
        return "shown_opened" if event.verdict == "opened" else "shown_implied"
    if event.verdict == "closed" and not event.swept:
        return "shown_closed"
    if event.status_before == "unknown":
        return "shown_first_heard_offline"
    return "shown_emptied" if event.swept else "shown_withdrawn"


def _headline_params(event: Event) -> dict[str, str | int]:
    match event:
        case WebhookObserved(node=node, device_flag=flag):
            return {"node": node, "device_flag": flag}
        case Corrected(node=node) | Swept(node=node):
            return {"node": node}
        case _:
            return {}


def _cause(evidence: Evidence) -> list[Statement]:
    """The event itself, in full."""
    if evidence.shown.reason is not None:
        return _doubt_cause(evidence)
    if evidence.is_overridden:
        return word_cause(evidence)
    shown = evidence.event_for(evidence.shown.cause)
    reported = evidence.reported if evidence.in_grace else None
    return [_told(placed) for placed in (shown, reported) if placed is not None]


def _told(placed: Placed) -> Statement:
    match placed.event:
        case WebhookObserved() as event:
            return _item(placed.position, event)
        case Corrected() as event:
            return say(
                "cause_correction",
                placed.position,
                received_at=event.received_at,
                node=event.node,
                opened=len(event.opened),
                closed=len(event.closed),
            )
        case Swept() as event:
            return say(
                "cause_sweep",
                placed.position,
                received_at=event.received_at,
                node=event.node,
                ended=len(event.ended),
            )
        case _:
            return say("cause_other", placed.position)


def _item(position: int, event: WebhookObserved) -> Statement:
    claim = parse_item(event.raw)
    # A slice whose names were replaced may hold a raw item that parses no more.
    counts = (claim.device_count, claim.total_count) if isinstance(claim, Claim) else None
    code = "cause_online" if event.online else "cause_offline"
    return say(
        f"{code}_item" if counts is None else f"{code}_counted_item",
        position,
        raw=event.raw,
        received_at=event.received_at,
        node=event.node,
        device_flag=event.device_flag,
        conn_id=event.conn_id,
        device_count=None if counts is None else counts[0],
        total_count=None if counts is None else counts[1],
        verdict=event.verdict,
    )


def _doubt_cause(evidence: Evidence) -> list[Statement]:
    said = []
    doubt = evidence.doubt()
    match None if doubt is None else doubt.event:
        case SourceDark(at=at, since=since):
            assert doubt is not None
            said.append(say("cause_dark", doubt.position, source=doubt.source, noticed_at=at, since=since))
        case NodeDown(node=node, since=since, reason=reason):
            assert doubt is not None
            said.append(say("cause_node_down", doubt.position, node=node, since=since, failure=reason))
        case NodeBooted(node=node, earliest=earliest, latest=latest):
            assert doubt is not None
            said.append(say("cause_node_booted", doubt.position, node=node, earliest=earliest, latest=latest))
    flip = evidence.presence.flip
    if flip is not None:
        said.append(say("last_status", flip.cause.position, status=flip.status, since=flip.since))
    return said


def _rule(evidence: Evidence) -> list[Statement]:
    """The rule that judged, with its meaning."""
    shown = evidence.shown
    if shown.reason == "never_observed":
        return [say("rule_never_observed", *evidence.searched)]
    if shown.reason is not None:
        doubt = evidence.doubt()
        place = evidence.presence.position if doubt is None else doubt.position
        facts: Facts = {"dark_seconds": evidence.dark_seconds} if shown.reason == "source_dark" else {}
        return [say(f"rule_{shown.reason}", place, **facts)]
    if evidence.is_overridden:
        return word_rule(evidence)
    said = []
    placed = evidence.reported if evidence.in_grace else evidence.event_for(shown.cause)
    if placed is not None and isinstance(placed.event, WebhookObserved | Corrected | Swept):
        rule = placed.event.rule
        said.append(say(f"rule_{rule}" if rule in RULES else "rule_other", placed.position, rule=rule))
        said += _effects(placed)
    flip = evidence.presence.flip
    assert flip is not None
    seconds = evidence.grace_seconds
    if seconds > 0 and flip.status == "offline" and evidence.presence.before is not None:
        code = "rule_grace_running" if evidence.in_grace else "rule_grace_over"
        said.append(say(code, flip.cause.position, reported_at=flip.since, grace_seconds=seconds))
    return said


def _effects(placed: Placed) -> list[Statement]:
    """What the item's counts did to other connections than its own."""
    event, place = placed.event, placed.position
    if not isinstance(event, WebhookObserved):
        return []
    said = []
    if event.swept:
        said.append(say("counts_swept", place, number=len(event.swept), connections=_names(event.swept)))
    if implied := event.implied + event.implied_elsewhere:
        said.append(say("counts_implied", place, number=implied))
    if withdrawn := event.withdrawn + event.withdrawn_elsewhere:
        said.append(say("counts_withdrawn", place, number=withdrawn))
    return said


def _names(sessions: tuple[SessionId, ...]) -> str:
    return ", ".join("?" if session.conn_id is None else str(session.conn_id) for session in sessions)
