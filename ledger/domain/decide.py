"""The rules for a webhook's item: what one observation means for a user, given what is known of him.

Pure: `decide` judges, `evolve` applies. Each rule has a name, which the event keeps.
"""

from ledger.domain.counts import ALREADY_OPEN, NO_EFFECT, Effect, Judgement, Situation, count
from ledger.domain.events import Status, WebhookObserved
from ledger.domain.grace import resumes
from ledger.domain.observation import SECOND, Instant, Observation
from ledger.domain.policy import Policy
from ledger.domain.presence import Device, Presence
from ledger.domain.profile import Counting

OFFLINE_REPEATED = Judgement("duplicate", "offline_repeated")

OFFLINE_PLACES = Judgement("closed", "offline_names_session", named=True, placed=True, suspect="late_offline")
"""Of a connection that nobody knew, where a look told of one of its device without its node: most likely that one."""


def decide(counting: Counting, presence: Presence, observation: Observation, policy: Policy) -> WebhookObserved:
    """The event that this observation becomes; its `suspect` says why the user is to be looked at because of it."""
    claim = observation.claim
    scope = observation.node if counting.node_local else ""
    device = presence.device(observation.source, scope, claim.device_flag)
    reorder = round(policy.reorder_seconds * SECOND)
    situation = Situation(observation, presence, counting, scope, device, reorder)
    judgement = _judge_online(situation) if claim.online else _judge_offline(device, observation)
    # What a repeated delivery counted was so when it came first, and has been heard.
    first_time = observation.first_received_at is None or judgement.verdict in ("opened", "closed")
    if judgement.verdict == "late" and _has_unplaced(presence, observation, scope):
        judgement = OFFLINE_PLACES
    effect = count(situation, judgement) if judgement.use_counts and first_time else NO_EFFECT
    is_placed = judgement.verdict == "opened" and not judgement.named and _has_unplaced(presence, observation, scope)
    placed = judgement.placed or is_placed
    status_after: Status = "online" if _any_open(presence, judgement, effect) else "offline"
    suspect = judgement.suspect or effect.suspect or _suspected_again(situation, judgement, effect)
    # By place, in the order of the fields: naming them costs as much again as the rules.
    return WebhookObserved(
        observation.source,
        observation.node,
        observation.delivery,
        observation.item,
        observation.raw,
        observation.received_at,
        judgement.verdict,
        judgement.rule,
        presence.status,
        status_after,
        claim.device_flag,
        claim.online,
        claim.conn_id,
        scope,
        judgement.named,
        effect.swept,
        effect.implied,
        effect.implied_elsewhere,
        effect.withdrawn,
        effect.withdrawn_elsewhere,
        effect.emptied,
        resumes(presence, status_after, observation.received_at, policy),
        observation.first_received_at is not None,
        suspect,
        placed,
        effect.unbelieved,
    )


def _suspected_again(situation: Situation, judgement: Judgement, effect: Effect) -> str | None:
    """Why the user is a suspect where the same bytes came before: what they change, or what they might have."""
    observation = situation.observation
    if observation.anew and (judgement.verdict in ("opened", "closed") or effect.changes_sessions):
        return "said_again"
    first_at, claim = observation.first_received_at, observation.claim
    if first_at is None or effect is not NO_EFFECT or claim.online or claim.total_count:
        return None
    # If this is no repetition, what has opened since is gone: sent again is what it is by far more often.
    last = [device.sessions[-1] for device in situation.in_scope() if device.sessions]
    return "repeated_empty" if any(session.opened_at > first_at for session in last) else None


def _has_unplaced(presence: Presence, observation: Observation, scope: str) -> bool:
    """Whether a poll told of a session on that device without its node, where others tell it."""
    if not scope:
        return False
    device = presence.device(observation.source, "", observation.claim.device_flag)
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
    named = device is not None and device.unnamed() > 0
    return Judgement("opened", "online_names_session" if named else "online_new", named)


def _judge_offline(device: Device | None, observation: Observation) -> Judgement:
    conn_id = observation.claim.conn_id
    if device is not None:
        session = device.session(conn_id)
        if session is not None:
            # What this delivery opened when it came first, it opened after saying this.
            opened_by_first = session.opened_at == observation.first_received_at
            return OFFLINE_REPEATED if opened_by_first else Judgement("closed", "offline_of_open")
        if device.closing(conn_id) is not None:
            return Judgement("duplicate", "offline_already_closed")
        if _over_at_original(device, observation):
            return OFFLINE_REPEATED
        if device.unnamed():
            return Judgement("closed", "offline_names_session", named=True)
    return Judgement("late", "offline_of_unknown", suspect="late_offline")


def _closed_before_original(closed_at: Instant, observation: Observation) -> bool:
    """The delivery that this one repeats, or an earlier one, had closed the connection already."""
    return observation.first_received_at is not None and closed_at <= observation.first_received_at


def _over_at_original(device: Device | None, observation: Observation) -> bool:
    """A repeated item about a connection that was over when its first delivery had been judged."""
    if device is None or observation.first_received_at is None:
        return False
    conn_id = observation.claim.conn_id
    closing = device.closing(conn_id)
    if closing is not None:
        return _closed_before_original(closing.at, observation)
    forgotten = device.forgotten
    return forgotten is not None and conn_id <= forgotten.conn_id and _closed_before_original(forgotten.at, observation)


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
    known = sum([len(device.sessions) for device in presence.devices])
    if judgement.verdict == "opened":
        known += 0 if judgement.named else 1
    elif judgement.verdict == "closed":
        known -= 1
    known += effect.implied + effect.implied_elsewhere - effect.withdrawn - effect.withdrawn_elsewhere
    return known - len(effect.swept) > 0
