"""The rules for a webhook's item: what one observation means for a user, given what is known of them.

Pure: `decide` judges, `evolve` applies. Each rule has a name, which the event keeps.
"""

from msgspec.structs import replace

from ledger.domain.counts import ALREADY_OPEN, NO_EFFECT, Effect, Judgement, Situation, count
from ledger.domain.events import Status, WebhookObserved
from ledger.domain.grace import resumes
from ledger.domain.late_evidence import without_overruling
from ledger.domain.observation import Observation
from ledger.domain.policy import Policy
from ledger.domain.presence import Device, Presence
from ledger.domain.profile import Counting

ONLINE_NEW = Judgement("opened", "online_new")
ONLINE_PLACES = Judgement("opened", "online_new", placed=True)
OFFLINE_OF_OPEN = Judgement("closed", "offline_of_open")
OFFLINE_REPEATED = Judgement("duplicate", "offline_repeated")
OFFLINE_LATE = Judgement("late", "offline_of_unknown", suspect="late_offline")
OFFLINE_PLACES = Judgement("closed", "offline_names_session", named=True, placed=True, suspect="late_offline")
"""Of a connection that nobody knew, where a look told of one of its device without its node: most likely that one."""


def decide(counting: Counting, presence: Presence, observation: Observation, policy: Policy) -> WebhookObserved:
    """The event that this observation becomes; its `suspect` says why the user is to be looked at because of it."""
    claim = observation.claim
    scope = observation.node if counting.node_local else ""
    device = presence.device(observation.source, scope, claim.device_flag)
    situation = Situation(observation, presence, counting, scope, device, policy)
    judgement = _judge_online(situation) if claim.online else _judge_offline(situation)
    if observation.spooled:
        judgement = without_overruling(situation, judgement)
    # What a repeated delivery counted was so when it came first, and has been heard.
    repeated = observation.first_received_at is not None
    counts_apply = judgement.use_counts and (not repeated or judgement.verdict in ("opened", "closed"))
    if judgement is OFFLINE_LATE and _has_unplaced(situation):
        judgement = OFFLINE_PLACES
    effect = count(situation, judgement) if counts_apply else NO_EFFECT
    status_after: Status = "online" if _any_open(presence, judgement, effect) else "offline"
    event = WebhookObserved(
        source=observation.source,
        node=observation.node,
        delivery=observation.delivery,
        item=observation.item,
        raw=observation.raw,
        received_at=observation.received_at,
        verdict=judgement.verdict,
        rule=judgement.rule,
        status_before=presence.status,
        status_after=status_after,
        device_flag=claim.device_flag,
        online=claim.online,
        conn_id=claim.conn_id,
        scope=scope,
    )
    # Most items have neither of what follows, and a name costs time even where its value is the default.
    if effect is not NO_EFFECT:
        event = replace(
            event,
            swept=effect.swept,
            implied=effect.implied,
            implied_elsewhere=effect.implied_elsewhere,
            withdrawn=effect.withdrawn,
            withdrawn_elsewhere=effect.withdrawn_elsewhere,
            emptied=effect.emptied,
            unbelieved=effect.unbelieved,
        )
    suspect = judgement.suspect or effect.suspect or _suspected_again(situation, judgement, effect)
    named, placed = judgement.named, judgement.placed
    resumed = resumes(presence, status_after, observation.received_at, policy)
    if named or placed or repeated or suspect is not None or resumed is not None:
        event = replace(event, named=named, placed=placed, repeated=repeated, suspect=suspect, resumes=resumed)
    return event


def _suspected_again(situation: Situation, judgement: Judgement, effect: Effect) -> str | None:
    """Why the user is a suspect where the same bytes came before: for what these change, or might have."""
    observation = situation.observation
    if observation.anew and (judgement.verdict in ("opened", "closed") or effect.changes_sessions):
        return "said_again"
    first_at, claim = observation.first_received_at, observation.claim
    if first_at is None or effect is not NO_EFFECT or claim.online or claim.total_count:
        return None
    # Were this not a repetition, what has opened since would be gone; but by far most are.
    last = [device.sessions[-1] for device in situation.in_scope() if device.sessions]
    return "repeated_empty" if any(session.opened_at > first_at for session in last) else None


def _has_unplaced(situation: Situation) -> bool:
    """Whether a poll told of a session on that device without its node, where others tell it."""
    if not situation.scope:
        return False
    observation = situation.observation
    device = situation.presence.device(observation.source, "", observation.claim.device_flag)
    return device is not None and device.unnamed() > 0


def _judge_online(situation: Situation) -> Judgement:
    observation, device = situation.observation, situation.device
    conn_id = observation.claim.conn_id
    if device is not None and device.session(conn_id) is not None:
        return Judgement("duplicate", ALREADY_OPEN)
    if _over_at_original(device, observation):
        return Judgement("duplicate", "online_repeated")
    closing = None if device is None else device.closing(conn_id)
    if closing is not None and observation.received_at - closing.at <= situation.reorder:
        return Judgement("stale", "online_overtaken_by_its_offline", use_counts=False)
    if situation.counting.may_overtake and _overtaken_by_empty(situation):
        return Judgement("stale", "online_older_than_empty", use_counts=False, suspect="online_older_than_empty")
    if device is not None and device.unnamed():
        return Judgement("opened", "online_names_session", named=True)
    return ONLINE_PLACES if _has_unplaced(situation) else ONLINE_NEW


def _judge_offline(situation: Situation) -> Judgement:
    observation, device = situation.observation, situation.device
    conn_id = observation.claim.conn_id
    if device is not None:
        session = device.session(conn_id)
        if session is not None:
            # What this delivery opened when it came first, it opened after saying this.
            opened_by_first = session.opened_at == observation.first_received_at
            return OFFLINE_REPEATED if opened_by_first else OFFLINE_OF_OPEN
        if device.closing(conn_id) is not None:
            return Judgement("duplicate", "offline_already_closed")
        if _over_at_original(device, observation):
            return OFFLINE_REPEATED
        if device.unnamed():
            return Judgement("closed", "offline_names_session", named=True)
    return OFFLINE_LATE


def _over_at_original(device: Device | None, observation: Observation) -> bool:
    """A repeated item about a connection that was over when its first delivery, or an earlier one, had been judged."""
    first_at, conn_id = observation.first_received_at, observation.claim.conn_id
    if device is None or first_at is None:
        return False
    closing = device.closing(conn_id)
    if closing is None and device.forgotten is not None and conn_id <= device.forgotten.conn_id:
        closing = device.forgotten
    return closing is not None and closing.at <= first_at


def _overtaken_by_empty(situation: Situation) -> bool:
    """A younger connection of this node has since closed as the user's last: connIds of a boot ascend."""
    observation = situation.observation
    return any(
        device.emptied is not None
        and observation.claim.conn_id < device.emptied.conn_id
        and observation.received_at - device.emptied.at <= situation.reorder
        for device in situation.in_scope()
    )


def _any_open(presence: Presence, judgement: Judgement, effect: Effect) -> bool:
    """Whether the user has a session left once the event has been applied."""
    known = sum([len(device.sessions) for device in presence.devices]) + judgement.own
    known += effect.implied + effect.implied_elsewhere - effect.withdrawn - effect.withdrawn_elsewhere
    return known - len(effect.swept) > 0
