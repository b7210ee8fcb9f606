"""Transitions of one user: which of them a webhook told, and which came to light otherwise; folded event by event.

A transition that its own webhook did not tell shows at a look, in a count, or in the end of a connection that nobody
had told of. Its webhook may come all the same, later: then it was told.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, TypeAlias

from ledger.domain.drift import is_silenced
from ledger.domain.event_types import UserEvent
from ledger.domain.events import WebhookObserved
from ledger.domain.observation import Claim, Instant, parse_item
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Corrected, Swept

LearntBy: TypeAlias = Literal[
    "gap", "sender", "late_offline", "count", "returned", "restart", "node", "upstream_defect"
]
"""How a transition came to light that no webhook told: by a look, with its attribution; by the offline of a connection
whose online never came; by a count of more connections than were known; by an online that came to a user who was alone
although another connection had not been said to end."""

PROVEN: frozenset[LearntBy] = frozenset({"restart", "node", "upstream_defect"})
"""Those that are no loss: a boot, a node that is down, a version that never tells."""

Became: TypeAlias = Literal["online", "offline"]

State: TypeAlias = Literal["supposed", "open", "final"]
"""A count says so, and what became of that connection is still to come; counted, but its webhook may still come;
counted."""


Key: TypeAlias = tuple[int, Became]


class ToldTransition(NamedTuple):
    """A transition that needs no more looking into: a webhook told it, or a sweep explains it."""

    source: str
    node: str
    by: Literal["webhook", "restart", "retired"]
    at: Instant


class Untold(NamedTuple):
    """A transition that its own webhook has not told: it took place after `after`, if that is known, and by `at`."""

    source: str
    position: int
    """Of the event that brought it to light."""
    became: Became
    node: str
    scope: str
    learnt_by: LearntBy
    after: Instant | None
    at: Instant
    state: State

    @property
    def key(self) -> Key:
        """What tells those of a user apart."""
        return self.position, self.became


class UserTransitions:
    """One user's, from what earlier events left pending: those that are not final."""

    def __init__(self, uid: str, pending: Iterable[Untold] = ()) -> None:
        # Which version the node has is not known here: in others it is one user in 64 whose returns do not count.
        self._may_be_silenced = is_silenced(uid, Profile.V2_2)
        self.told: list[ToldTransition] = []
        self.changed: dict[Key, Untold] = {}
        """Those that are new, or in another state than before."""
        self.dropped: dict[Key, Untold] = {}
        """Those that were told after all, or had not taken place."""
        self._pending = {each.key: each for each in pending}

    @property
    def pending(self) -> tuple[Untold, ...]:
        """Those that are not final now."""
        return tuple(sorted(self._pending.values(), key=_key)) if self._pending else ()

    def take(self, event: UserEvent, position: int) -> None:
        """What an event of the user, stored at that position, says."""
        match event:
            case WebhookObserved():
                self._take_webhook(event, position)
            case Corrected(drift=str()):
                self._take_correction(event, position)
            case Swept():
                self._take_sweep(event)
            case _:
                pass

    def _take_webhook(self, event: WebhookObserved, position: int) -> None:
        if not self._pending and tells_itself_alone(event):
            self._tell(event)
            return
        became = _became(event)
        if became == "online":
            self._settle(event.source)
            if event.implied or event.implied_elsewhere:
                # Another connection came first, or is still there: that one made them online.
                self._add(event, position, "online", "count")
            else:
                self._tell(event)
        elif became == "offline":
            self._take_last_offline(event, position)
        elif event.status_after == "offline":
            self._take_while_offline(event, position)
        else:
            self._take_while_online(event, position)

    @property
    def _returned(self) -> LearntBy:
        return "upstream_defect" if self._may_be_silenced else "returned"

    def _take_last_offline(self, event: WebhookObserved, position: int) -> None:
        """The user went offline; what else ended with that went untold."""
        self._confirm(event.source)
        self._settle(event.source)
        self._tell(event)
        if event.verdict == "late" and all(each.device_flag == event.device_flag for each in event.swept):
            # They had gone, and come again on the connection that ends here.
            self._add(event, position, "offline", self._returned, "final")
            self._add(event, position, "online", "late_offline")

    def _take_while_offline(self, event: WebhookObserved, position: int) -> None:
        match event.verdict:
            case "late":
                self._tell(event)
                self._add(event, position, "online", "late_offline")
            case "stale" if event.rule == "online_overtaken_by_its_offline":
                self._tell_after_all(event, "online")
            case "duplicate" if event.rule == "offline_already_closed":
                self._tell_after_all(event, "offline")
            case _:
                pass

    def _take_while_online(self, event: WebhookObserved, position: int) -> None:
        match event.verdict:
            case "opened" if event.named or event.placed or event.withdrawn_elsewhere:
                # A look or a count had told of this very connection, or of one whose place it takes.
                self._tell_after_all(event, "online")
            case "opened" if not event.repeated and _was_alone(event):
                self._add(event, position, "offline", self._returned, "supposed")
            case "duplicate" if event.rule == "online_already_open" and not event.repeated:
                self._tell_after_all(event, "online")
            case "closed":
                for each in self._supposed(event.source):
                    self._drop(each)
            case _:
                pass

    def _take_correction(self, event: Corrected, position: int) -> None:
        learnt_by = event.attributed_to or "gap"
        became = _became(event)
        if became == "offline" or event.closed:
            scopes = None if became else {each.scope for each in event.closed}
            self._confirm(event.source, scopes, learnt_by)
        if became:
            self._settle(event.source)
            at = event.received_at if event.disagreed_at is None else event.disagreed_at
            self._change(Untold(event.source, position, became, event.node, "", learnt_by, event.agreed_at, at, "open"))

    def _take_sweep(self, event: Swept) -> None:
        for each in self._supposed(event.source):
            self._drop(each)
        if _became(event) == "offline":
            self._settle(event.source)
            by: Literal["restart", "retired"] = "restart" if event.rule == "restart" else "retired"
            self.told.append(ToldTransition(event.source, event.node, by, event.received_at))

    def _tell(self, event: WebhookObserved) -> None:
        self.told.append(told_by(event))

    def _tell_after_all(self, event: WebhookObserved, became: Became) -> None:
        """The webhook of a transition has come that had been learnt otherwise."""
        found = next((each for each in self._of(event.source, "open") if each.became == became), None)
        if found is not None:
            self._drop(found)
            self._tell(event)

    def _add(
        self, event: WebhookObserved, position: int, became: Became, learnt_by: LearntBy, state: State = "open"
    ) -> None:
        self._change(
            Untold(
                event.source,
                position,
                became,
                event.node,
                event.scope,
                learnt_by,
                None,
                event.received_at,
                state,
            )
        )

    def _confirm(self, source: str, scopes: set[str] | None = None, learnt_by: LearntBy = "gap") -> None:
        """What a count had said is so: that connection ended without a word."""
        for each in self._supposed(source):
            if scopes is None or each.scope in scopes:
                why: LearntBy = learnt_by if learnt_by in PROVEN else each.learnt_by
                self._change(each._replace(state="final", learnt_by=why))

    def _settle(self, source: str) -> None:
        """The user has come or gone since: what is told from here on is told of that."""
        for each in self._of(source, "open"):
            self._change(each._replace(state="final"))

    def _supposed(self, source: str) -> Iterator[Untold]:
        return self._of(source, "supposed")

    def _of(self, source: str, state: State) -> Iterator[Untold]:
        return (each for each in list(self._pending.values()) if each.source == source and each.state == state)

    def _change(self, untold: Untold) -> None:
        self.changed[untold.key] = untold
        if untold.state == "final":
            self._pending.pop(untold.key, None)
        else:
            self._pending[untold.key] = untold

    def _drop(self, untold: Untold) -> None:
        del self._pending[untold.key]
        self.changed.pop(untold.key, None)
        self.dropped[untold.key] = untold


def tells_itself_alone(event: WebhookObserved) -> bool:
    """Whether it is the webhook of a transition, and speaks of nothing else, where nothing of its user is pending."""
    match _became(event):
        case "online":
            return not (event.implied or event.implied_elsewhere)
        case "offline":
            return event.verdict != "late"
        case _:
            return False


def told_by(event: WebhookObserved) -> ToldTransition:
    """The transition of which it is the webhook."""
    return ToldTransition(event.source, event.node, "webhook", event.received_at)


def _key(untold: Untold) -> Key:
    return untold.key


def _became(event: WebhookObserved | Corrected | Swept) -> Became | None:
    """What the event made of the user, if that is a transition: who was never observed was not online."""
    if event.status_after == "online":
        return None if event.status_before == "online" else "online"
    return "offline" if event.status_before == "online" else None


def _was_alone(event: WebhookObserved) -> bool:
    """Whether an online's counts say that no other connection was there, in the scope that they count.

    They count the connection itself or, in v2.1, do not; a device's own count tells the two apart, but for a second
    window of one device in v2.1.
    """
    claim = parse_item(event.raw)
    return isinstance(claim, Claim) and (claim.total_count == 0 or (claim.total_count == 1 and claim.device_count == 1))
