"""The judgement on one answered look: what becomes of a user's doubt, which correction follows, when to look again."""

from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from ledger.domain.drift import Difference, Doubt, Poll, attribute, held_in, is_silenced, looks_that_count
from ledger.domain.events import SessionId, Status
from ledger.domain.grace import resumes
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import Policy
from ledger.domain.presence import Presence
from ledger.domain.reconciliation_events import Corrected, DriftKind, Finding, Outcome, Tier
from ledger.domain.source import SourceState

RECENT_SECONDS = 900.0
"""Users seen connected this recently are looked at as often as those online: a lost online is as common as a lost
offline."""

RETURN_SECONDS = 60.0
"""For this long after a boot the users it swept are looked at out of turn, less and less often: most clients come back
within seconds, and their webhooks come late if at all."""

DUE_SHARE = 0.98
"""A look is due when this share of the tier's bound has passed: the answer and a busy budget take their time, too."""

VIP_SHARE = 0.6
"""The same for a vip: most are users whom a defect silences, so that only a look tells that they left."""

SPACING_SECONDS = 5.0
"""However suspect a user is, two looks that confirm nothing are at least this far apart: a user who flaps would
otherwise take the looks of many."""


class Watch(msgspec.Struct, frozen=True, gc=False):
    """When a user is to be looked at in a source, and what the looks before have left open."""

    due_at: Instant
    urgent: str | None = None
    """Why the user is looked at out of turn."""
    verified_at: Instant | None = None
    """The last look that agreed with us."""
    doubt: Doubt | None = None
    looked_at: Instant | None = None
    """When the last look was asked."""


class JudgedLook(NamedTuple):
    """What a look comes to. `finding` None: nothing new; `event` None: nothing is changed."""

    watch: Watch
    finding: Finding | None = None
    event: Corrected | None = None
    said_nothing: bool = False
    """Overtaken, or a row is missing where that says nothing."""
    waits: bool = False
    """We hold the user online, and only `/connz` can tell."""
    contradicted: int = 0
    """Connections that a node lists though an offline has closed them."""
    tier: Tier = "normal"
    """How soon the user was to be looked at, and whether it was later than that."""
    overdue: bool = False

    @property
    def agreed(self) -> bool:
        return self.finding is None and not self.said_nothing


def effective_tier(presence: Presence, source: SourceState, now: Instant) -> Tier:
    """How soon the user is to be looked at again."""
    if presence.tier is not None:
        return presence.tier
    if presence.status == "online":
        return _online_tier(presence.uid, source)
    seen = presence.last_seen_at
    return "normal" if seen is not None and now - seen <= round(RECENT_SECONDS * SECOND) else "cold"


def _online_tier(uid: str, source: SourceState) -> Tier:
    return "vip" if is_silenced(uid, source.profile) else "normal"


def tier_bound_seconds(tier: Tier, policy: Policy) -> float:
    """The longest that a user of the tier waits, in seconds; a vip never longer than a normal user."""
    if tier == "vip":
        return min(policy.tier_vip_seconds, policy.tier_normal_seconds)
    return policy.tier_normal_seconds if tier == "normal" else max(policy.tier_cold_seconds, policy.tier_normal_seconds)


def is_overdue(watch: Watch, tier: Tier, policy: Policy, asked_at: Instant) -> bool:
    """Whether a look in turn was asked later than the tier's bound allows."""
    slack = round(tier_bound_seconds(tier, policy) * SECOND) - _interval(tier, policy)
    return watch.urgent is None and 0 < watch.due_at < asked_at - slack


def due_after(presence: Presence, source: SourceState, looked_at: Instant) -> Instant:
    """When the next look in turn is due."""
    return looked_at + _interval(effective_tier(presence, source, looked_at), source.policy)


def soonest_due(presence: Presence, source: SourceState, looked_at: Instant) -> Instant:
    """No later than `due_after`, whether the user is online or not: that alone may change between two tiers chosen."""
    return looked_at + _interval(presence.tier or _online_tier(presence.uid, source), source.policy)


def next_due(tier: Tier, policy: Policy, after: Instant) -> Instant:
    """When a user of that tier is to be looked at next."""
    return after + _interval(tier, policy)


def _interval(tier: Tier, policy: Policy) -> int:
    """Microseconds from a look to the next one in turn."""
    share = VIP_SHARE if tier == "vip" else DUE_SHARE
    return round(tier_bound_seconds(tier, policy) * share * SECOND)


def made_urgent(watch: Watch, at: Instant, why: str) -> Watch:
    """The user is to be looked at at once, or as soon as the spacing between two looks allows."""
    due = at if watch.looked_at is None else max(at, watch.looked_at + round(SPACING_SECONDS * SECOND))
    if watch.due_at > due:
        return Watch(due, why, watch.verified_at, watch.doubt, watch.looked_at)
    # Their turn has come, but others may be waiting for theirs before them.
    return watch if watch.urgent is not None or watch.due_at > at else replace(watch, urgent=why)


def judge_look(
    presence: Presence, source: SourceState, poll: Poll, difference: Difference, watch: Watch, holding: bool
) -> JudgedLook:
    """Judge one user's answer. `holding`: the breaker is open, or opens with this answer."""
    doubt = watch.doubt
    changed_since_doubt = doubt is not None and presence.evident_position > doubt.head
    in_turn = due_after(presence, source, poll.asked_at)
    if presence.evident_position > poll.head:
        # Something was recorded of the user since the question was sent: the answer does not judge it.
        due = min(in_turn, poll.asked_at + round(SPACING_SECONDS * SECOND))
        again = Watch(due, "overtaken", watch.verified_at, None, poll.asked_at)
        if doubt is not None and changed_since_doubt:
            return _settled(presence, doubt, again)
        return JudgedLook(replace(again, doubt=doubt), said_nothing=True)
    if difference.absent and not difference.opened:
        waiting = Watch(in_turn, None, watch.verified_at, doubt, poll.asked_at)
        return JudgedLook(waiting, said_nothing=True, waits=presence.status == "online")
    if not (difference.opened or difference.gone):
        in_turn = min(in_turn, _return_due(presence, source, poll.asked_at) or in_turn)
        agreed = Watch(in_turn, None, poll.answered_at, None, poll.asked_at)
        tells = difference.located or presence.flip is None
        located = _event(presence, source, poll, difference, watch, None) if tells else None
        if doubt is None:
            return JudgedLook(agreed, None, located)
        return _settled(presence, doubt, agreed)._replace(event=located)
    if changed_since_doubt:
        doubt = None
    return _judge_drift(presence, source, poll, difference, watch, doubt, holding)


def _return_due(presence: Presence, source: SourceState, now: Instant) -> Instant | None:
    """When to look again at a user whose sessions a boot has ended so recently that they are likely to come back."""
    flip = presence.flip
    if flip is None or flip.status == "online" or flip.cause.kind != "sweep":
        return None
    since_boot = now - max([node.boot[1] for node in source.nodes.values() if node.boot is not None], default=0)
    if since_boot >= round(RETURN_SECONDS * SECOND):
        return None
    return now + max(round(source.policy.confirm_seconds * SECOND), since_boot * 3 // 2)


def _settled(presence: Presence, doubt: Doubt, watch: Watch) -> JudgedLook:
    """A doubt is over: a webhook has said the same meanwhile, or we were right."""
    said_the_same = presence.evident_position > doubt.head and (doubt.drift != "ghost" or presence.status != "online")
    outcome: Outcome = "in_flight" if said_the_same else "cleared"
    finding = Finding(presence.uid, doubt.drift, outcome, doubt.agreed_at, doubt.disagreed_at)
    return JudgedLook(watch, finding)


def _judge_drift(
    presence: Presence,
    source: SourceState,
    poll: Poll,
    difference: Difference,
    watch: Watch,
    doubt: Doubt | None,
    holding: bool,
) -> JudgedLook:
    held = held_in(presence, source.name)
    drift: DriftKind = "missed" if not held else "devices" if len(difference.gone) < len(held) else "ghost"
    if difference.opened and held:
        drift = "devices"
    if doubt is not None and doubt.drift == "devices" and drift == "ghost":
        # The look before this one saw the user, if with fewer connections: it does not say that they are gone.
        doubt = None
    unproven = len(difference.gone) > len(difference.proven)
    counted = looks_that_count(doubt, poll, source.policy)
    closing = difference.gone if not unproven else difference.proven
    outcome: Outcome = "corrected"
    if unproven:
        flips = _status_after(presence, difference, difference.gone) != "online"
        held_back = flips and holding
        if counted >= source.policy.confirmations and not held_back:
            closing = difference.gone
        else:
            outcome = "held" if held_back else "open"
    agreed_at = doubt.agreed_at if doubt is not None else _last_agreement(presence, source, watch, drift)
    disagreed_at = doubt.disagreed_at if doubt is not None else poll.answered_at
    next_doubt = None
    if outcome != "corrected":
        looks = doubt.looks + 1 if doubt is not None else 1
        gone_drift: DriftKind = "ghost" if drift == "ghost" else "devices"
        head = doubt.head if doubt is not None else poll.head
        before = 0 if doubt is None else doubt.counted
        counted_at = poll.answered_at if counted > before or doubt is None else doubt.counted_at
        next_doubt = Doubt(gone_drift, agreed_at, disagreed_at, head, looks, outcome == "held", counted, counted_at)
    attributed = attribute(source, presence.uid, poll.node, drift, agreed_at)
    finding = Finding(presence.uid, drift, outcome, agreed_at, disagreed_at, attributed)
    event = None
    if difference.opened or closing or difference.located:
        bounds = Doubt(drift, agreed_at, disagreed_at, 0, doubt.looks + 1 if doubt is not None else 1)
        event = _event(presence, source, poll, difference._replace(gone=closing), watch, bounds)
        event = replace(event, attributed_to=attributed)
    return JudgedLook(_next_watch(presence, source, poll, watch, next_doubt), finding, event)


def _next_watch(presence: Presence, source: SourceState, poll: Poll, watch: Watch, doubt: Doubt | None) -> Watch:
    if doubt is None:
        # A user corrected either way counts as seen recently.
        tier = presence.tier or _online_tier(presence.uid, source)
        return Watch(poll.asked_at + _interval(tier, source.policy), None, poll.answered_at, None, poll.asked_at)
    due = poll.answered_at + round(source.policy.confirm_seconds * SECOND)
    if doubt.held:
        held_until = source.breaker_until or poll.answered_at + round(source.policy.breaker_hold_seconds * SECOND)
        due = max(due, held_until)
    return Watch(due, "held" if doubt.held else "confirm", watch.verified_at, doubt, poll.asked_at)


def _last_agreement(presence: Presence, source: SourceState, watch: Watch, drift: DriftKind) -> Instant | None:
    """The latest instant at which evidence, a look or a webhook, agreed with what we hold."""
    seen = [held.session.seen_at for held in held_in(presence, source.name)]
    evidence = max(seen, default=None)
    if drift == "missed" and presence.flip is not None:
        evidence = presence.flip.since
    return max((at for at in (evidence, watch.verified_at) if at is not None), default=None)


def _status_after(presence: Presence, difference: Difference, closing: tuple[SessionId, ...]) -> Status:
    known = sum(len(device.sessions) for device in presence.devices)
    left = known + len(difference.opened) - len(difference.replaced) - len(closing)
    return "online" if left > 0 else "offline"


def _event(
    presence: Presence, source: SourceState, poll: Poll, difference: Difference, watch: Watch, bounds: Doubt | None
) -> Corrected:
    """The correction that this look justifies; `bounds` None: it only tells which node holds a session."""
    route = "connz" if "connz" in poll.route else "poll"
    if bounds is None:
        rule = f"{route}_absent" if presence.flip is None else f"{route}_located"
    else:
        rule = f"{route}_{bounds.drift}"
    if bounds is not None and difference.gone and difference.gone == difference.proven:
        rule = f"{route}_after_boot"
    status_after = _status_after(presence, difference, difference.gone)
    return Corrected(
        source=source.name,
        node=poll.node,
        received_at=poll.answered_at,
        rule=rule,
        status_before=presence.status,
        status_after=status_after,
        run=poll.run,
        poll=poll.poll,
        asked_at=poll.asked_at,
        drift=None if bounds is None else bounds.drift,
        agreed_at=watch.verified_at if bounds is None else bounds.agreed_at,
        disagreed_at=None if bounds is None else bounds.disagreed_at,
        looks=1 if bounds is None else bounds.looks,
        opened=difference.opened,
        closed=difference.gone + difference.replaced,
        located=difference.located,
        resumes=resumes(presence, status_after, poll.answered_at, source.policy),
    )
