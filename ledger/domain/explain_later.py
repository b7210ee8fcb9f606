"""Explaining a status: what was learnt afterwards, and what was seen at the time and not followed."""

from collections.abc import Iterable
from itertools import islice

from ledger.domain.events import WebhookObserved
from ledger.domain.evidence import Evidence, Placed
from ledger.domain.explain_chain import is_same_claim
from ledger.domain.explain_ends import ends
from ledger.domain.imported import PresenceImported
from ledger.domain.observation import SECOND
from ledger.domain.override_events import UserOverridden
from ledger.domain.reconciliation_events import UNFINISHED, Corrected, Finding, PollObserved, Swept
from ledger.domain.statement import Facts, Statement, say

NEAR_SECONDS = 60.0
"""An item that was not followed is told of where it came so near to the instant."""

MAX_STATEMENTS = 5
"""Of each kind that may be made of many events."""


def later(evidence: Evidence) -> list[Statement]:
    """What was recorded after what was known, as far as it speaks of the instant, and until when the status held."""
    said = list(ends(evidence))
    if evidence.is_overridden:
        return [*said, _today(evidence)]
    said += _imported_later(evidence)
    said += islice(_recorded_late(evidence), MAX_STATEMENTS)
    said += islice(_contradictions(evidence), MAX_STATEMENTS)
    said += islice(_late_offlines(evidence), MAX_STATEMENTS)
    said += _drift_ends(evidence)
    said.append(_today(evidence))
    return said


def contradictions(evidence: Evidence) -> Iterable[Placed]:
    """Corrections and sweeps of something that had come about by the instant and was not known, or may have."""
    for placed in evidence.bounded:
        match placed.event:
            case Corrected(disagreed_at=int(latest), agreed_at=earliest) | Swept(earliest=earliest, latest=int(latest)):
                unknown = placed.position > evidence.position
                around = latest > evidence.at and (earliest is None or earliest < evidence.at)
                if around or (latest <= evidence.at and unknown):
                    yield placed


def _imported_later(evidence: Evidence) -> Iterable[Statement]:
    """That the user's record here begins with an import: before it nothing could be told of them."""
    for placed in evidence.after[:1]:
        event = placed.event
        # One that kept its instants stands where it stood in the ledger that it came from.
        if isinstance(event, PresenceImported) and event.received_at < placed.recorded_at:
            yield say("imported_later", placed.position, imported_at=placed.recorded_at, received_at=event.received_at)


def _recorded_late(evidence: Evidence) -> Iterable[Statement]:
    """Items that had arrived by the instant and were not in the ledger yet."""
    for placed in evidence.after:
        event = placed.event
        if isinstance(event, WebhookObserved) and event.received_at <= evidence.at:
            yield say(
                "recorded_late",
                placed.position,
                raw=event.raw,
                received_at=event.received_at,
                recorded_at=placed.recorded_at,
            )


def _contradictions(evidence: Evidence) -> Iterable[Statement]:
    for placed in contradictions(evidence):
        event = placed.event
        if isinstance(event, Corrected):
            assert event.disagreed_at is not None
            past = event.disagreed_at <= evidence.at
            code = "correction_before" if past else "correction_around"
            code += "" if event.agreed_at is not None else "_open"
            facts: Facts = {"agreed_at": event.agreed_at, "disagreed_at": event.disagreed_at, "drift": event.drift}
        else:
            assert isinstance(event, Swept)
            assert event.latest is not None
            code = "sweep_before" if event.latest <= evidence.at else "sweep_around"
            code += "" if event.earliest is not None else "_open"
            facts = {"earliest": event.earliest, "latest": event.latest, "node": event.node}
        yield say(code, placed.position, received_at=event.received_at, **facts)


def _late_offlines(evidence: Evidence) -> Iterable[Statement]:
    """Offlines of connections that were not known: the user may have been online without a webhook to tell."""
    for placed in late_offlines(evidence):
        event = placed.event
        assert isinstance(event, WebhookObserved)
        yield say("late_offline", placed.position, raw=event.raw, received_at=event.received_at)


def late_offlines(evidence: Evidence) -> Iterable[Placed]:
    """Those that came soon after the user was shown offline."""
    if evidence.shown.status != "offline":
        return
    for placed in evidence.later:
        event = placed.event
        if isinstance(event, WebhookObserved) and event.verdict == "late" and not event.repeated:
            soon = 0 < event.received_at - evidence.at <= NEAR_SECONDS * SECOND
            yield from (placed,) if soon else ()


def _drift_ends(evidence: Evidence) -> list[Statement]:
    """What became of drifts that looks had found, or could have found, at the instant."""
    said = []
    for placed, poll, finding in evidence.findings():
        if placed.position <= evidence.position or finding.outcome in UNFINISHED:
            continue
        begun_by = finding.disagreed_at if finding.agreed_at is None else finding.agreed_at
        if begun_by <= evidence.at <= poll.answered_at:
            facts: Facts = {
                "drift": finding.drift,
                "disagreed_at": finding.disagreed_at,
                "answered_at": poll.answered_at,
            }
            said.append(say(f"drift_{finding.outcome}", placed.position, **facts))
    return said[:MAX_STATEMENTS]


def _today(evidence: Evidence) -> Statement:
    """What is said of the instant given all that the ledger holds now."""
    head = (evidence.head,) if evidence.head else ()
    if (between := evidence.uncertain) is not None:
        return say(
            "today_uncertain",
            *head,
            status=evidence.now.status,
            could_be=between.could_be,
            earliest=between.earliest,
            latest=between.latest,
        )
    code = "today_same" if evidence.now.status == evidence.shown.status else "today_other"
    return say(code, *head, status=evidence.now.status)


def alternatives(evidence: Evidence) -> list[Statement]:
    """What was seen and not followed: items judged late, stale or duplicate, looks that waited for a second one."""
    said = list(islice(_ignored(evidence), MAX_STATEMENTS))
    duplicates = [(place, event) for place, event in _near(evidence) if event.verdict == "duplicate"]
    if duplicates:
        first, last = duplicates[0][1].received_at, duplicates[-1][1].received_at
        places = [place for place, _ in duplicates]
        number = len(places)
        said.append(say("ignored_duplicates", *places, number=number, first_at=first, last_at=last))
    for placed, _, finding in open_drifts(evidence):
        facts: Facts = {"drift": finding.drift, "disagreed_at": finding.disagreed_at}
        said.append(say(f"look_{finding.outcome}", placed.position, **facts))
    return said


def _ignored(evidence: Evidence) -> Iterable[Statement]:
    for position, event in _near(evidence):
        if event.verdict in ("late", "stale"):
            facts: Facts = {"raw": event.raw, "received_at": event.received_at, "rule": event.rule}
            yield say(f"ignored_{event.verdict}", position, **facts)


def _near(evidence: Evidence) -> Iterable[tuple[int, WebhookObserved]]:
    """Items near the instant, but for the one behind the status and those that say the same."""
    reported = evidence.reported
    cause = None if reported is None else reported.event
    for position, event in evidence.around():
        near = abs(event.received_at - evidence.at) <= NEAR_SECONDS * SECOND
        same = isinstance(cause, WebhookObserved) and is_same_claim(cause, event)
        if near and not same and (reported is None or position != reported.position):
            yield position, event


def open_drifts(evidence: Evidence) -> list[tuple[Placed, PollObserved, Finding]]:
    """Looks that had found otherwise by the instant, and waited for a second one or for the breaker."""
    # A drift whose doubt has become void has no end of its own: the next one of its source is it.
    last = {}
    for placed, poll, finding in evidence.findings():
        if placed.position <= evidence.position:
            last[placed.source] = placed, poll, finding
    return [found for found in last.values() if found[2].outcome in UNFINISHED and not _voided(evidence, *found[:2])]


def _voided(evidence: Evidence, placed: Placed, poll: PollObserved) -> bool:
    """Whether what a look doubted has changed since, but for what the look itself corrected; no word of anybody's
    changes it.
    """
    return any(
        placed.position < each.position <= evidence.position
        and not (isinstance(each.event, Corrected) and each.event.poll == poll.poll)
        and not isinstance(each.event, UserOverridden)
        for each in (*evidence.before, *evidence.later)
    )
