"""What must be so of what an explanation answers and of how sure it is, besides the fields of the events."""

from collections.abc import Callable, Mapping
from zlib import crc32

from ledger.domain.reconciliation_events import PollObserved
from tests.support.claim import NEAR, Claim, Event, bounds_of, configured, finds, recorded

UNDERWAY = 2_000_000
STATUSES = frozenset({"online", "offline", "unknown"})


def _since(claim: Claim) -> bool:
    """The status began with its event; an offline after the grace period; with hindsight at a bound of it."""
    event = claim.events[0]
    if event["status_after"] != claim.explanation.shown.status and not claim.hindsight:
        return False
    instants = begins(event) | told_by_looks(claim)
    return claim.params["since"] in instants | {instant + grace(claim) for instant in instants}


def told_by_looks(claim: Claim) -> set[int]:
    """When looks had told of what webhooks on their way said: with hindsight it was so from then on."""
    if not claim.hindsight:
        return set()
    polls = [row.event for row in claim.rows if isinstance(row.event, PollObserved)]
    found = [finding for poll in polls for finding in poll.findings if finding.uid == claim.explanation.uid]
    return {finding.disagreed_at for finding in found if finding.outcome == "in_flight"}


def begins(event: Event) -> set[int]:
    """When what an event tells is taken to have come about: at its arrival, or as known later at a bound of it."""
    return {at for at in (event["received_at"], event.get("disagreed_at"), event.get("latest")) if at is not None}


def grace(claim: Claim) -> int:
    seconds: float = configured(claim)["policy"].grace_seconds
    return round(seconds * 1_000_000)


def never(claim: Claim) -> bool:
    up_to = recorded(claim.rows, claim.explanation)
    named = [event for event in claim.of_user if event["position"] <= up_to]
    return not named and claim.statement.positions == ((up_to,) if up_to else ())


def nothing(claim: Claim) -> bool:
    return not recorded(claim.rows, claim.explanation) and not claim.statement.positions


def _known_at(claim: Claim) -> bool:
    """More was known than had been recorded by the instant, and the position is the last of that instant."""
    up_to = sum(row.recorded_at <= claim.params["known_at"] for row in claim.rows)
    return claim.hindsight and claim.statement.positions == (claim.explanation.position,) == (up_to,)


def _known_position(claim: Claim) -> bool:
    told = claim.params["known_position"] == claim.explanation.position
    return told and claim.hindsight and claim.statement.positions == (claim.explanation.position,)


def _corrected_otherwise(claim: Claim) -> bool:
    """A look or a node's end that no other headline tells of."""
    return claim.events[0]["kind"] in ("Corrected", "Swept") and _since(claim)


def _in_grace(claim: Claim) -> bool:
    online, offline = claim.events
    reported_at = claim.params["reported_at"]
    looked = told_by_looks(claim)
    running = reported_at in begins(offline) | looked and 0 <= claim.explanation.at - reported_at < grace(claim)
    running = running and claim.params["since"] in begins(online) | looked
    return running and _ended(claim, offline) and online["status_after"] == "online"


def _ended(claim: Claim, event: Event) -> bool:
    """The event left nothing open; with hindsight of what was there when it came about: more may have opened since."""
    return event["status_after"] == "offline" or (claim.hindsight and event["kind"] in ("Corrected", "Swept"))


def _refuted(claim: Claim) -> bool:
    """Something cited was recorded later and had come about before."""
    at, known = claim.explanation.at, claim.explanation.position
    bounds = [bounds_of(event, claim.explanation.uid) for event in claim.events if event["position"] > known]
    today = [s.params["status"] for s in claim.explanation.statements if s.code in ("today_other", "today_uncertain")]
    return today == [claim.params["status"]] and any(latest <= at for _, latest in bounds)


def _between(claim: Claim) -> bool:
    at = claim.explanation.at
    told = (claim.params["earliest"], claim.params["latest"])
    possible = claim.params["could_be"] in STATUSES - {claim.explanation.shown.status}
    return possible and told[0] < at < told[1] and told in [bounds_of(e, claim.explanation.uid) for e in claim.events]


def _seen_after(claim: Claim) -> bool:
    """The connection was opened and not closed before, and was heard of well after the instant."""
    event = claim.events[0]
    margin = 0 if event["online"] else UNDERWAY
    told = claim.params["received_at"] == event["received_at"] > claim.explanation.at + margin
    return told and event["verdict"] in ("closed", "duplicate") and not event["repeated"]


def _agreed_after(claim: Claim) -> bool:
    agreed_at = bounds_of(claim.events[0], claim.explanation.uid)[0]
    return bool(claim.params["agreed_at"] == agreed_at > claim.explanation.at)


def waiting(claim: Claim) -> bool:
    return claim.events[0]["position"] <= claim.explanation.position and finds(claim)


def silent(claim: Claim) -> bool:
    """Nothing was recorded between the two events but the start itself; one of them told its end."""
    stopped, started = claim.events
    between = claim.rows[stopped["position"] : started["position"] - 1]
    own = all(getattr(row.event, "instance", None) == started["instance"] for row in between)
    since = stopped["at"] if stopped["kind"] == "ServiceStopped" else stopped["recorded_at"]
    order = stopped["kind"] == "ServiceStopped" or not claim.statement.code.startswith("stopped")
    return own and order and (since, started["at"]) == (claim.params["since"], claim.params["until"])


def late_offline(claim: Claim) -> bool:
    event = claim.events[0]
    return bool(event["verdict"] == "late" and 0 < event["received_at"] - claim.explanation.at <= NEAR)


def _opposed_by_grace(claim: Claim) -> bool:
    return _ended(claim, claim.events[0]) and claim.explanation.shown.status == "online"


def mute(claim: Claim) -> bool:
    return crc32(claim.explanation.uid.encode()) % 64 == 0


def _unopposed(claim: Claim) -> bool:
    """The last of what was recorded later and had come about by then, if there is any, says the same."""
    at, status = claim.explanation.at, claim.explanation.shown.status
    later = [event for event in claim.after() if event["kind"] in ("Corrected", "Swept", "WebhookObserved")]
    upper = [(event, bounds_of(event, claim.explanation.uid)[1]) for event in later]
    come = [event for event, latest in upper if latest is not None and latest <= at]
    cause = () if claim.hindsight else (claim.events[0],)
    return all(event["status_after"] == status or _opened_after(claim, event) for event in (*cause, *come[-1:]))


def _opened_after(claim: Claim, event: Event) -> bool:
    """An end of what was there by the instant, on record as online for what opened after it."""
    since = [each for each in claim.of_user if each["position"] < event["position"] and each.get("online")]
    is_end = event["kind"] in ("Corrected", "Swept") and claim.explanation.shown.status == "offline"
    return is_end and any(each["received_at"] > claim.explanation.at for each in since)


def _likely_look(claim: Claim) -> bool:
    return _unopposed(claim) and claim.events[0]["kind"] == "Corrected"


def doubt(claim: Claim) -> bool:
    """Since when and until when a source or a node was in doubt, by the events that say so."""
    first, last = claim.events[0], claim.events[-1]
    since = first["earliest"] if first["kind"] == "NodeBooted" else first["since"]
    until = claim.params.get("until")
    return since == claim.params["since"] and (until is None or until == last["at"])


Check = Callable[[Claim], bool]

ANSWERS: Mapping[str, Check] = {
    **dict.fromkeys(("shown_never_observed", "rule_never_observed", "unknown_never_observed"), never),
    **dict.fromkeys(("shown_opened", "shown_implied", "shown_closed", "shown_emptied", "shown_withdrawn"), _since),
    **dict.fromkeys(("shown_first_heard_offline", "shown_missed", "shown_ghost", "shown_after_boot"), _since),
    **dict.fromkeys(("shown_absent", "shown_restart", "shown_node_retired"), _since),
    "shown_nothing_recorded": nothing,
    "with_hindsight": _known_at,
    "with_hindsight_at_position": _known_position,
    "shown_corrected": _corrected_otherwise,
    "shown_in_grace": _in_grace,
    **dict.fromkeys(("shown_source_dark", "shown_node_down"), doubt),
    "unknown_source_dark": lambda claim: claim.events[0]["kind"] == "SourceDark",
    "unknown_node_down": lambda claim: claim.events[0]["kind"] in ("NodeDown", "NodeBooted"),
    "refuted": _refuted,
    "doubtful_between": _between,
    "doubtful_unknown_today": lambda claim: claim.explanation.shown.status != "unknown",
    "doubtful_rules": lambda claim: claim.params["status"] != claim.explanation.shown.status,
    "certain_seen_after": _seen_after,
    "certain_agreed_after": _agreed_after,
    "doubtful_drift": waiting,
    "doubtful_down": silent,
    "doubtful_late_offline": late_offline,
    "doubtful_grace": _opposed_by_grace,
    "doubtful_mute": mute,
    "likely_look": _likely_look,
    **dict.fromkeys(("likely_sweep", "likely_unopposed"), _unopposed),
}
