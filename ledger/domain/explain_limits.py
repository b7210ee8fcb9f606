"""Explaining a status: what nobody could know then, since we, a source or a node were down, or upstream is mute."""

from collections.abc import Iterator
from typing import NamedTuple

from ledger.domain.drift import is_silenced
from ledger.domain.events import WebhookObserved
from ledger.domain.evidence import Evidence, Gap
from ledger.domain.observation import Instant
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import (
    BreakerClosed,
    BreakerOpened,
    NodeBooted,
    NodeDown,
    NodeSettled,
    SourceDark,
    SourceLit,
)
from ledger.domain.statement import Facts, Statement, say

MAX_STATEMENTS = 3
"""Of each kind, the last ones."""


class Doubtful(NamedTuple):
    """A time of which nothing was known, of a whole source or of one node; `until` None: it goes on."""

    source: str
    node: str | None
    since: Instant
    until: Instant | None
    positions: tuple[int, ...]


def limits(evidence: Evidence) -> list[Statement]:
    """What could not be known of the time between the last evidence and the instant; an operator's word needs none."""
    if evidence.is_overridden:
        return []
    said = [_gap(evidence, gap) for gap in gaps_between(evidence)[-MAX_STATEMENTS:]]
    said += [_doubtful(evidence, time) for time in list(_between(evidence))[-MAX_STATEMENTS:]]
    said += _breaker(evidence)
    if (profile := silencing_profile(evidence)) is not None:
        said.append(say("never_reported_offline", evidence.presence.position, profile=profile.value))
    reported = evidence.reported
    if reported is not None and isinstance(reported.event, WebhookObserved) and evidence.shown.reason is None:
        received_at = reported.event.received_at
        said.append(say("time_is_latest", reported.position, received_at=received_at))
    return said


def gaps_between(evidence: Evidence) -> list[Gap]:
    """The times without us between the last evidence and the instant."""
    return [gap for gap in evidence.gaps if gap.since < evidence.at and gap.until > evidence.evident_at]


def _gap(evidence: Evidence, gap: Gap) -> Statement:
    how = "stopped" if gap.in_order else "killed"
    when = "then" if gap.until > evidence.at else "between"
    return say(f"{how}_{when}", *gap.positions, since=gap.since, until=gap.until)


def _between(evidence: Evidence) -> Iterator[Doubtful]:
    """The times of doubt that matter, but for the one that is the reason of what was shown."""
    reason = evidence.doubt()
    for time in _times(evidence):
        ongoing = time.until is None or time.until > evidence.evident_at
        if time.since <= evidence.at and ongoing and (reason is None or reason.position not in time.positions):
            yield time


def _times(evidence: Evidence) -> Iterator[Doubtful]:
    """Each time of doubt from its begin to its end."""
    open_since: dict[tuple[str, str | None], Doubtful] = {}
    for placed in evidence.signs:
        source, place = placed.source, placed.position
        match placed.event:
            case SourceDark(since=since):
                open_since.setdefault((source, None), Doubtful(source, None, since, None, (place,)))
            case NodeDown(node=node, since=since) | NodeBooted(node=node, earliest=since, first=False):
                open_since.setdefault((source, node), Doubtful(source, node, since, None, (place,)))
            case SourceLit(at=at):
                if (dark := open_since.pop((source, None), None)) is not None:
                    yield dark._replace(until=at, positions=(*dark.positions, place))
            case NodeSettled(node=node, at=at):
                if (down := open_since.pop((source, node), None)) is not None:
                    yield down._replace(until=at, positions=(*down.positions, place))
    yield from open_since.values()


def _doubtful(evidence: Evidence, time: Doubtful) -> Statement:
    what = "source_was_dark" if time.node is None else "node_was_down"
    code = what if time.until is not None else f"{what}_open"
    facts: Facts = {"since": time.since, "until": time.until, "node": time.node, "source": time.source}
    return say(code, *time.positions, **facts)


def _breaker(evidence: Evidence) -> Iterator[Statement]:
    """The breaker that held corrections to offline at the instant."""
    opened: dict[str, tuple[int, BreakerOpened]] = {}
    for placed in evidence.signs:
        if placed.position <= evidence.position:
            match placed.event:
                case BreakerOpened(at=at) as event if at <= evidence.at:
                    opened[placed.source] = placed.position, event
                case BreakerClosed(at=at) if at <= evidence.at:
                    opened.pop(placed.source, None)
    for place, event in opened.values():
        facts: Facts = {"looked": event.looked, "missing": event.missing, "opened_at": event.at}
        yield say("breaker_was_open", place, **facts)


def silencing_profile(evidence: Evidence) -> Profile | None:
    """The profile of a source in which the user is connected and whose servers never report them offline."""
    sources = (evidence.sources.get(device.source) for device in evidence.presence.devices if device.sessions)
    return next((s.profile for s in sources if s is not None and is_silenced(evidence.uid, s.profile)), None)
