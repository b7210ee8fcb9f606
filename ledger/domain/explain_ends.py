"""Explaining a status: until when what was shown held, ended by an event of the user's, a doubt, time, a word."""

from collections.abc import Iterator

from ledger.domain.evidence import Evidence, Placed
from ledger.domain.explain_override import next_word, word_end
from ledger.domain.observation import Instant
from ledger.domain.override_events import OverrideSet
from ledger.domain.reconciliation_events import NodeBooted, NodeDown, NodeSettled, SourceDark, SourceLit
from ledger.domain.statement import Statement, say


def ends(evidence: Evidence) -> Iterator[Statement]:
    """Until when what was shown held, as far as anything tells; and since when an offline shows that had to wait."""
    yield _end(evidence)
    if evidence.grace_end is not None:
        position, shows_at, seconds = evidence.grace_end
        yield say("grace_ends", position, shows_at=shows_at, grace_seconds=seconds)


def _end(evidence: Evidence) -> Statement:
    """By an operator's word where that was said before anything else happened to what was shown."""
    if evidence.is_overridden:
        return word_end(evidence)
    said, word = _end_by_evidence(evidence), next_word(evidence)
    goes_on = said.code in ("no_change_yet", "nothing_since")
    if word is None or not (goes_on or word.position < said.positions[0]):
        return said
    assert isinstance(word.event, OverrideSet)
    return say("next_override", word.position, status=word.event.status, changed_at=evidence.told_at(word))


def _end_by_evidence(evidence: Evidence) -> Statement:
    if (end := _doubt_end(evidence)) is not None:
        placed, ended_at = end
        return say("doubt_ended", placed.position, ended_at=ended_at)
    if evidence.ended_by is not None:
        return _doubt_begin(evidence, evidence.ended_by)
    if (change := evidence.next_change()) is not None:
        status = getattr(change.event, "status_after", None)
        code = "reported_again" if status == evidence.shown.status else "next_change"
        return say(code, change.position, status=status, changed_at=evidence.told_at(change))
    if evidence.later:
        last = evidence.later[-1]
        return say("no_change_yet", last.position, number=len(evidence.later), until=last.recorded_at)
    return say("nothing_since", evidence.head) if evidence.head else say("nothing_since")


def _doubt_end(evidence: Evidence) -> tuple[Placed, Instant] | None:
    """The event that ended the doubt for which the user was shown as unknown, and when."""
    doubt = evidence.doubt()
    for placed in evidence.signs:
        if doubt is not None and placed.position > doubt.position and placed.source == doubt.source:
            match placed.event:
                case SourceLit(at=at) if isinstance(doubt.event, SourceDark):
                    return placed, at
                case NodeSettled(node=node, at=at) if node == getattr(doubt.event, "node", None):
                    return placed, at
    return None


def _doubt_begin(evidence: Evidence, placed: Placed) -> Statement:
    """The doubt in which the user was no longer shown as before."""
    noticed_at: Instant = getattr(placed.event, "at", placed.recorded_at)
    if noticed_at <= evidence.at:
        # What had been noticed by then was not on record yet.
        noticed_at = placed.recorded_at
    match placed.event:
        case NodeDown(node=node):
            return say("next_node_down", placed.position, node=node, noticed_at=noticed_at)
        case NodeBooted(node=node):
            return say("next_node_booted", placed.position, node=node, noticed_at=noticed_at)
        case _:
            return say("next_dark", placed.position, source=placed.source, noticed_at=noticed_at)
