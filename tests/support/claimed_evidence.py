"""What must be so of evidence, of what was learnt later and of what was not followed, besides the fields of events."""

from collections.abc import Mapping

from ledger.domain.events import Configured
from ledger.domain.reconciliation_events import PollObserved
from tests.support.claim import Claim, Event, bounds_of, configured, fields_of, finds, recorded, spans
from tests.support.claimed_answers import (
    STATUSES,
    Check,
    begins,
    doubt,
    late_offline,
    mute,
    silent,
    told_by_looks,
    waiting,
)

ENDS = ("", "_open")
LOOKED_AT = 100
"""Events after the instant of which an explanation tells at most."""


def _cause(claim: Claim) -> Event:
    """The item behind the status, as another statement cites it."""
    told = [s for s in claim.explanation.statements if s.code == "delivery"]
    return fields_of(claim.rows[told[0].positions[1] - 1])


def _grace(claim: Claim) -> bool:
    seconds: float = configured(claim)["policy"].grace_seconds
    over = claim.params["reported_at"] + round(seconds * 1_000_000) <= claim.explanation.at
    told = claim.params["grace_seconds"] == seconds and claim.params["reported_at"] in begins(claim.events[0])
    return bool(told and over == (claim.statement.code == "rule_grace_over"))


def _counts(claim: Claim) -> bool:
    device, total = claim.events[0]["raw"].rsplit("-", 2)[1:]
    return [int(device), int(total)] == [claim.params["device_count"], claim.params["total_count"]]


def _bodies(claim: Claim) -> bool:
    """All deliveries of the body before, or after, that are linked to the cause's by repeating one another."""
    own = next(s for s in claim.explanation.statements if s.code == "delivery").positions[0]
    deliveries = [fields_of(row) for row in claim.rows if type(row.event).__name__ == "DeliveryReceived"]
    linked = {fields_of(claim.rows[own - 1])["delivery"]}
    while (
        more := {
            name
            for event in deliveries
            for name in (event["delivery"], event["repeats"])
            if name is not None and {event["delivery"], event["repeats"]} & linked
        }
        - linked
    ):
        linked |= more
    before = claim.statement.code == "body_came_before"
    places = [e["position"] for e in deliveries if e["delivery"] in linked and e["position"] != own]
    wanted = tuple(place for place in places if (place < own) == before)
    if claim.statement.code == "body_came_once":
        return not places and claim.statement.positions == (own,)
    alike = {(event["node"], event["digest"]) for event in (*claim.events, fields_of(claim.rows[own - 1]))}
    return wanted == claim.statement.positions and len(alike) == 1 and spans(claim)


def _same_claims(claim: Claim) -> bool:
    """All items that say of the same connection what the cause says, and did nothing."""
    cause = _cause(claim)
    before = claim.statement.code == "claim_came_before"
    wanted = [
        event["position"]
        for event in claim.of_user
        if event["kind"] == "WebhookObserved"
        and event["verdict"] in ("duplicate", "stale")
        and event["position"] != cause["position"]
        and all(event[name] == cause[name] for name in ("source", "scope", "device_flag", "conn_id", "online"))
        and (event["position"] < cause["position"]) == before
    ]
    return list(claim.statement.positions) == wanted and spans(claim)


def _duplicates(claim: Claim) -> bool:
    """Each of them is a duplicate near the instant."""
    return claim.is_near() and all(event["verdict"] == "duplicate" for event in claim.events) and spans(claim)


def _swept(claim: Claim) -> bool:
    """The connections are those that the event names."""
    numbers = [session.conn_id for session in claim.events[0]["swept"]]
    return bool(claim.params["connections"] == ", ".join("?" if n is None else str(n) for n in numbers))


def _sum(claim: Claim, what: str) -> int:
    return int(claim.events[0][what] + claim.events[0][f"{what}_elsewhere"])


def _rows(claim: Claim) -> bool:
    said = claim.events[0]["rows"].get(claim.explanation.uid)
    return bool(said == claim.params.get("rows", ""))


def _next_change(claim: Claim) -> bool:
    """The first event after the instant that made the status on record another than the one explained."""
    shown = claim.explanation.shown.status
    changes = [event for event in claim.shown_changes() if event["status_after"] != shown]
    return claim.params["status"] != shown and _told_first(claim, changes)


def _reported_again(claim: Claim) -> bool:
    """The first change after the instant, in the grace period, made the status on record the one explained."""
    first = claim.explanation.statements[0]
    if first.code != "shown_in_grace" or claim.params["status"] != claim.explanation.shown.status:
        return False
    # The offline that is not shown yet may itself have been recorded after the instant.
    changes = [event for event in claim.changes() if event["position"] != first.positions[-1]]
    return _told_first(claim, changes)


def _doubt_begins(claim: Claim) -> bool:
    """A source that had told of the user came into doubt after the instant, before the record said another status."""
    begun, at = claim.events[0], claim.explanation.at
    shown = claim.explanation.shown.status
    noticed_at = begun["at"] if begun["at"] > at else begun["recorded_at"]
    told = [e for e in claim.of_user if e["position"] < begun["position"]]
    of_source = any(e["kind"] == "PresenceImported" or e["source"] == begun["source"] for e in told)
    changed = [e for e in claim.shown_changes() if e["position"] < begun["position"] and e["status_after"] != shown]
    later = begun["position"] > recorded(claim.rows, claim.explanation)
    return later and of_source and not changed and shown != "unknown" and claim.params["noticed_at"] == noticed_at


def _grace_ends(claim: Claim) -> bool:
    """So long after the offline as the policy of then says, and nothing had said online by then."""
    offline, seconds, shows_at = claim.events[0], claim.params["grace_seconds"], claim.params["shows_at"]
    policies = [row.event.policy for row in claim.rows[: offline["position"]] if isinstance(row.event, Configured)]
    grace = {configured(claim)["policy"].grace_seconds, policies[-1].grace_seconds}
    begun = begins(offline) | told_by_looks(claim)
    back = [
        event
        for event in claim.of_user
        if event["position"] > offline["position"] and event["recorded_at"] < shows_at
        if (event["status_before"], event["status_after"]) == ("offline", "online")
    ]
    told = seconds in grace and shows_at in {instant + round(seconds * 1_000_000) for instant in begun}
    return told and (claim.hindsight or not back) and claim.explanation.shown.status == "online"


def _told_first(claim: Claim, changes: list[Event]) -> bool:
    first = changes[0] if changes else None
    if first is None or (first["position"],) != claim.statement.positions:
        return False
    began_at = first["received_at"] if first["received_at"] > claim.explanation.at else first["recorded_at"]
    return (claim.params["status"], claim.params["changed_at"]) == (first["status_after"], began_at)


def _nothing(claim: Claim) -> bool:
    return not claim.since() and claim.statement.positions == (len(claim.rows),)


def _no_change(claim: Claim) -> bool:
    """None of the events after the instant says another status than the one explained."""
    since, number = claim.since(), claim.params["number"]
    changes = {event["position"] for event in claim.shown_changes()}
    shown = claim.explanation.shown.status
    same = all(e["position"] not in changes or e["status_after"] == shown for e in since[:number])
    return same and number in (len(since), LOOKED_AT) and since[number - 1]["position"] == claim.statement.positions[0]


def _doubt_ended(claim: Claim) -> bool:
    """Not before the instant, by what was known of it then."""
    ended = claim.events[0]
    return bool(ended["at"] > claim.explanation.at or ended["position"] > claim.explanation.position)


def _past(claim: Claim) -> bool:
    """Bounds before the instant, or around it, as the code says."""
    earliest, latest = bounds_of(claim.events[0], claim.explanation.uid)
    at, past = claim.explanation.at, "_before" in claim.statement.code
    known = claim.events[0]["position"] <= claim.explanation.position
    later = claim.events[0]["recorded_at"] > at or not known
    if past and known:
        return False
    open_end = claim.statement.code.endswith("_open") == (earliest is None)
    return later and open_end and (latest <= at if past else (earliest is None or earliest < at) and latest > at)


def _came_later(claim: Claim) -> bool:
    """The state was recorded here later than where it comes from."""
    return bool(claim.params["received_at"] < claim.params["imported_at"])


def _recorded_late(claim: Claim) -> bool:
    return bool(
        claim.events[0]["position"] > claim.explanation.position and claim.params["received_at"] <= claim.explanation.at
    )


def _dark(claim: Claim) -> bool:
    return bool(claim.params["dark_seconds"] == configured(claim)["policy"].dark_seconds)


def _head(claim: Claim) -> bool:
    same = claim.params["status"] == claim.explanation.shown.status
    return claim.statement.positions == (len(claim.rows),) and same == (claim.statement.code == "today_same")


def _uncertain(claim: Claim) -> bool:
    """Some event of the user, or what a look found of them, has these bounds around the instant."""
    told = claim.params["earliest"], claim.params["latest"]
    bounded = [event for event in claim.of_user if event["kind"] in ("Corrected", "Swept")]
    bounds = {bounds_of(event, claim.explanation.uid) for event in bounded}
    polls = [row.event for row in claim.rows if isinstance(row.event, PollObserved)]
    found = {(f.agreed_at, f.disagreed_at) for poll in polls for f in poll.findings if f.uid == claim.explanation.uid}
    statuses = {claim.params["status"], claim.params["could_be"]}
    return len(statuses) == 2 and statuses <= STATUSES and told in bounds | found


def _last_seen(claim: Claim) -> bool:
    """No online or end of a connection of later is known by then, but one that tells of that instant is."""
    seen = claim.params["last_seen_at"]
    known = [event for event in claim.of_user if event["position"] <= claim.statement.positions[0]]
    evident = {event["received_at"] for event in known} | {event.get("disagreed_at") for event in known}
    if seen not in evident | told_by_looks(claim):
        return False
    return claim.hindsight or all(
        event["received_at"] <= seen
        for event in known
        if event["kind"] == "WebhookObserved" and event["verdict"] in ("opened", "closed")
    )


def _breaker(claim: Claim) -> bool:
    """It had been opened and not closed by then."""
    opened, at = claim.events[0], claim.explanation.at
    known = [fields_of(row) for row in claim.rows[opened["position"] : claim.explanation.position]]
    closed = [event for event in known if event["kind"] == "BreakerClosed" and event["at"] <= at]
    return opened["at"] <= at and not closed


def _known_later(claim: Claim) -> bool:
    return claim.events[0]["position"] > claim.explanation.position and finds(claim)


def _word(claim: Claim) -> bool:
    """What is shown is what somebody said last, before its time was over, and the evidence agrees as the code says."""
    said = [event for event in claim.of_user if event["kind"] == "OverrideSet"]
    cause, explained = claim.explanation.cause, claim.explanation
    words = [event for event in said if cause is not None and event["position"] == cause.position]
    agrees = claim.params.get("status", explained.shown.status) == explained.shown.status
    holds = all(event["received_at"] <= explained.at < event["expires_at"] for event in words)
    return holds and agrees == (claim.statement.code == "likely_override")


def _word_ended(claim: Claim) -> bool:
    """After the instant, and as the first thing that was said after the word."""
    ended, explained = claim.events[0], claim.explanation
    cause = explained.cause
    ends = [event for event in claim.of_user if event["kind"] == "OverrideEnded"]
    after = [event for event in ends if cause is not None and event["position"] > cause.position]
    ended_at = ended["received_at"] if ended["received_at"] > explained.at else ended["recorded_at"]
    return claim.params["ended_at"] == ended_at and bool(after[0]["position"] == ended["position"])


def _next_word(claim: Claim) -> bool:
    """The first one that was said after the instant, before the record told of another status."""
    word, shown = claim.events[0], claim.explanation.shown.status
    words = [event for event in claim.since() if event["kind"] == "OverrideSet"]
    changed = [e for e in claim.shown_changes() if e["position"] < word["position"] and e["status_after"] != shown]
    begun = word["received_at"] if word["received_at"] > claim.explanation.at else word["recorded_at"]
    # How a doubt ended is told of where it did.
    first = words[0] == word and (shown == "unknown" or not changed)
    return first and claim.params["changed_at"] == begun


_BOUNDED = (
    f"{what}_{where}{end}" for what in ("correction", "sweep") for where in ("before", "around") for end in ENDS
)

EVIDENCE: Mapping[str, Check] = {
    **dict.fromkeys(("cause_dark", "cause_node_down"), doubt),
    **dict.fromkeys(("cause_online_counted_item", "cause_offline_counted_item"), _counts),
    **dict.fromkeys(("rule_grace_running", "rule_grace_over"), _grace),
    "rule_source_dark": _dark,
    "rule_node_down": lambda claim: not claim.params,
    "counts_swept": _swept,
    "counts_implied": lambda claim: claim.params["number"] == _sum(claim, "implied"),
    "counts_withdrawn": lambda claim: claim.params["number"] == _sum(claim, "withdrawn"),
    "delivery": lambda claim: claim.params["item"] == claim.events[1]["item"] + 1 <= claim.params["items"],
    **dict.fromkeys(("body_came_once", "body_came_before", "body_came_again"), _bodies),
    **dict.fromkeys(("claim_came_before", "claim_came_again"), _same_claims),
    "poll": lambda claim: claim.events[0]["poll"] == claim.events[1]["poll"],
    **dict.fromkeys(("poll_found", "poll_found_nothing"), _rows),
    "last_seen": _last_seen,
    "next_change": _next_change,
    "reported_again": _reported_again,
    **dict.fromkeys(("next_dark", "next_node_down", "next_node_booted"), _doubt_begins),
    "grace_ends": _grace_ends,
    "doubt_ended": _doubt_ended,
    "nothing_since": _nothing,
    "no_change_yet": _no_change,
    "imported_later": lambda claim: claim.after()[:1] == [claim.events[0]] and _came_later(claim),
    "recorded_late": _recorded_late,
    **dict.fromkeys(_BOUNDED, _past),
    "late_offline": late_offline,
    **dict.fromkeys(("drift_corrected", "drift_cleared", "drift_in_flight"), _known_later),
    **dict.fromkeys(("look_open", "look_held"), waiting),
    **dict.fromkeys(("today_same", "today_other"), _head),
    "today_uncertain": _uncertain,
    "last_status": lambda claim: claim.params["since"] in begins(claim.events[0]) | told_by_looks(claim),
    **dict.fromkeys(("stopped_then", "stopped_between", "killed_then", "killed_between"), silent),
    **dict.fromkeys(("source_was_dark", "source_was_dark_open", "node_was_down", "node_was_down_open"), doubt),
    "breaker_was_open": _breaker,
    "never_reported_offline": lambda claim: (
        mute(claim) and claim.params["profile"] == configured(claim)["profile"].value
    ),
    "ignored_duplicates": _duplicates,
    **dict.fromkeys(("likely_override", "doubtful_override"), _word),
    **dict.fromkeys((f"override_{why}" for why in ("expired", "evidence", "deleted", "replaced")), _word_ended),
    "next_override": _next_word,
    "evidence_beneath": lambda claim: claim.params["since"] in begins(claim.events[0]) | told_by_looks(claim),
    **dict.fromkeys(("ignored_late", "ignored_stale"), Claim.is_near),
}
