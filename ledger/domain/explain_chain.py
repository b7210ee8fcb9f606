"""Explaining a status: the evidence behind its cause, a delivery, a poll or a node's boot, and how often it came."""

from collections.abc import Sequence

from ledger.domain.events import Configured, DeliveryReceived, WebhookObserved
from ledger.domain.evidence import Evidence, Placed
from ledger.domain.observation import Instant
from ledger.domain.reconciliation_events import Corrected, NodeBooted, RunStarted, Swept
from ledger.domain.statement import Facts, Statement, say


def chain(evidence: Evidence) -> list[Statement]:
    """Where the event that made the status, or in the grace period the offline not yet shown, came from."""
    # Of an operator's word there is none.
    placed = None if evidence.is_overridden else evidence.reported
    said: list[Statement] = []
    match None if placed is None else placed.event:
        case WebhookObserved() as event:
            assert placed is not None
            said += _delivery(evidence, placed.position, event)
            said += _again(evidence, placed.position, event)
        case Corrected() as event:
            assert placed is not None
            said += _look(evidence, placed.position, event)
        case Swept() as event:
            assert placed is not None
            said += _sweep(evidence, placed, event)
    run = evidence.run
    if run is not None and not evidence.is_overridden and isinstance(run.event, RunStarted):
        started = run.event
        said.append(say("run", run.position, run=started.run, scope=started.scope, started_at=started.at))
    presence = evidence.presence
    if presence.last_seen_at is not None:
        said.append(say("last_seen", presence.position, last_seen_at=presence.last_seen_at))
    return said


def _delivery(evidence: Evidence, position: int, event: WebhookObserved) -> list[Statement]:
    delivery = evidence.delivery
    if delivery is None or not isinstance(delivery.event, DeliveryReceived):
        return []
    received = delivery.event
    said = [
        say(
            "delivery",
            delivery.position,
            position,
            delivery=received.delivery,
            node=received.node,
            received_at=received.received_at,
            recorded_at=delivery.recorded_at,
            items=received.items,
            item=event.item + 1,
        )
    ]
    bodies = evidence.deliveries()
    earlier = [(at, each.received_at) for at, each in bodies if at < delivery.position]
    again = [(at, each.received_at) for at, each in bodies if at > delivery.position]
    said += _times("body_came_before", earlier) + _times("body_came_again", again)
    return said if earlier or again else [*said, say("body_came_once", delivery.position)]


def _times(code: str, places: list[tuple[int, Instant]]) -> list[Statement]:
    """How often something came, and from when to when."""
    if not places:
        return []
    positions, instants = zip(*places, strict=True)
    first, last = min(instants), max(instants)
    return [say(code, *positions, number=len(places), first_at=first, last_at=last)]


def _again(evidence: Evidence, position: int, event: WebhookObserved) -> list[Statement]:
    """How often the same claim came, apart from the body as a whole."""
    known = [placed for placed in (*evidence.before, *evidence.later) if placed.position < position]
    earlier, again = _claims(known, event), _claims(evidence.following, event)
    code = "claim_came_again_at_least" if evidence.following_cut else "claim_came_again"
    return _times("claim_came_before", earlier) + _times(code, again)


def _claims(events: Sequence[Placed], event: WebhookObserved) -> list[tuple[int, Instant]]:
    """Those that say the same, and when they came."""
    return [
        (placed.position, placed.event.received_at)
        for placed in events
        if isinstance(placed.event, WebhookObserved) and is_same_claim(event, placed.event)
    ]


def is_same_claim(event: WebhookObserved, other: WebhookObserved) -> bool:
    """Whether another item was taken for saying what this one says, again or to no effect."""
    return other.verdict in ("duplicate", "stale") and (
        (event.source, event.scope, event.device_flag, event.conn_id, event.online)
        == (other.source, other.scope, other.device_flag, other.conn_id, other.online)
    )


def _look(evidence: Evidence, position: int, event: Corrected) -> list[Statement]:
    said: list[Statement] = []
    found = evidence.poll(event.poll)
    if found is not None:
        placed, poll = found
        said.append(
            say(
                "poll",
                placed.position,
                position,
                poll=poll.poll,
                node=poll.node,
                route=poll.route,
                asked_at=poll.asked_at,
                answered_at=poll.answered_at,
                asked=poll.asked,
                agreed=poll.agreed,
            )
        )
        rows = poll.rows.get(evidence.uid)
        if rows is not None:
            said.append(
                say("poll_found", placed.position, rows=rows) if rows else say("poll_found_nothing", placed.position)
            )
    if event.disagreed_at is not None:
        code = "bounds_open" if event.agreed_at is None else "bounds"
        bounds: Facts = {"agreed_at": event.agreed_at, "disagreed_at": event.disagreed_at}
        said.append(say(code, position, **bounds))
        said.append(say("looks", position, number=event.looks))
    if event.attributed_to is not None:
        said.append(say(f"attributed_{event.attributed_to}", position, attributed_to=event.attributed_to))
    return said


def _sweep(evidence: Evidence, placed: Placed, event: Swept) -> list[Statement]:
    said: list[Statement] = []
    proof = evidence.cited.get(event.evidence)
    match None if proof is None else proof.event:
        case NodeBooted(node=node, earliest=earliest, latest=latest, route=route):
            facts: Facts = {"node": node, "earliest": earliest, "latest": latest, "route": route}
            said.append(say("booted", event.evidence, **facts))
        case Configured(at=at):
            said.append(say("retired", event.evidence, node=event.node, configured_at=at))
    if event.earliest is not None and event.latest is not None:
        said.append(say("sweep_bounds", placed.position, earliest=event.earliest, latest=event.latest))
    return said
