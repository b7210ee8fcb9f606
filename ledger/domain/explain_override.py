"""Explaining a status that an operator said: by whom, why, what the evidence says beneath it, and how it ended."""

from ledger.domain.evidence import Evidence, Placed
from ledger.domain.override_events import OverrideEnded, OverrideSet
from ledger.domain.statement import Statement, say
from ledger.domain.status import derive_by_evidence


def word_headline(evidence: Evidence) -> Statement:
    """Who said it, and why."""
    shown, placed = evidence.shown, evidence.event_for(evidence.shown.cause)
    match None if placed is None else placed.event:
        case OverrideSet(by=by, reason=reason):
            assert placed is not None
            return say("shown_override", placed.position, status=shown.status, since=shown.since, by=by, reason=reason)
        case _:
            place = evidence.presence.position
            return say("shown_override_before_record", place, status=shown.status, since=shown.since)


def word_cause(evidence: Evidence) -> list[Statement]:
    """For how long it was said, and the status by evidence, which goes on beneath it."""
    said, placed = [], evidence.event_for(evidence.shown.cause)
    if placed is not None and isinstance(placed.event, OverrideSet):
        code = "cause_override_until_evidence" if placed.event.until_evidence else "cause_override"
        received_at, expires_at = placed.event.received_at, placed.event.expires_at
        said.append(say(code, placed.position, received_at=received_at, expires_at=expires_at))
    flip = evidence.presence.flip
    if flip is not None:
        said.append(say("evidence_beneath", flip.cause.position, status=flip.status, since=flip.since))
    return said


def word_rule(evidence: Evidence) -> list[Statement]:
    """That it is shown in place of the evidence."""
    return [say("rule_override", _place(evidence))]


def word_confidence(evidence: Evidence) -> Statement:
    """Nobody has to prove a word: it is as sure as the evidence agrees."""
    by_evidence = derive_by_evidence(evidence.presence, evidence.sources, evidence.at).status
    if by_evidence == evidence.shown.status:
        return say("likely_override", _place(evidence), level="likely")
    return say("doubtful_override", _place(evidence), level="doubtful", status=by_evidence)


def word_end(evidence: Evidence) -> Statement:
    """How it ended, as far as that is on record, or when it does at the latest."""
    for placed in evidence.later:
        match placed.event:
            case OverrideEnded(why=why, by=by):
                return say(f"override_{why}", placed.position, ended_at=evidence.told_at(placed), by=by)
    word = evidence.presence.override
    assert word is not None
    return say("override_holds", _place(evidence), expires_at=word.expires_at)


def next_word(evidence: Evidence) -> Placed | None:
    """The first word that was said after the instant."""
    return next((placed for placed in evidence.later if isinstance(placed.event, OverrideSet)), None)


def _place(evidence: Evidence) -> int:
    """Where it was said; where that is before the record, as far as that goes."""
    placed = evidence.event_for(evidence.shown.cause)
    return evidence.presence.position if placed is None else placed.position
