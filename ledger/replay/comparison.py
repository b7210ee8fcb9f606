"""A verdict on record next to what the rules say now: in what the two differ, and what each counts as."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from ledger.domain.event_types import UserEvent
from ledger.domain.events import DeliveryReceived, WebhookObserved
from ledger.domain.reconciliation_events import Finding, Swept

Said: TypeAlias = UserEvent | DeliveryReceived | Finding
"""One thing that the rules say."""


class Comparison(NamedTuple):
    """What the rules said of something when it was recorded, and what they say of it now."""

    position: int
    uid: str | None
    """None: of a delivery."""
    recorded: tuple[Said, ...]
    replayed: tuple[Said, ...]
    why_not: str | None = None
    """Why it could not be judged again, or not in full: its evidence is not in the slice. What was recorded stands."""

    @property
    def is_repeated(self) -> bool:
        """Whether it was judged again, and came out the same."""
        return self.why_not is None and self.recorded == self.replayed

    def as_dict(self) -> dict[str, Any]:
        """As `replay --json` shows it."""
        return {
            "position": self.position,
            "uid": self.uid,
            "recorded": [_as_dict(each) for each in self.recorded],
            "replayed": [_as_dict(each) for each in self.replayed],
            "differs_in": _differs_in(self.recorded, self.replayed),
        }


def in_order(compared: Comparison) -> tuple[int, str]:
    """The order in which comparisons are shown, whoever else is judged: by position, then by user."""
    return compared.position, compared.uid or ""


def _as_dict(said: Said) -> dict[str, Any]:
    match said:
        case DeliveryReceived():
            return {"repeats": said.repeats, "anew": said.anew}
        case Finding():
            return {"drift": said.drift, "outcome": said.outcome}
        case _:
            return {"verdict": said.verdict, "rule": said.rule, "status_after": said.status_after}


def _differs_in(recorded: Sequence[Said], replayed: Sequence[Said]) -> list[str]:
    """The names of fields that differ in the same thing said; [] where other things are said."""
    names: dict[str, None] = {}
    for then, now in zip(recorded, replayed, strict=False):
        if type(then) is type(now):
            names |= {name: None for name in then.__struct_fields__ if getattr(then, name) != getattr(now, name)}
    return list(names)


def count_verdicts(event: UserEvent) -> Counter[str]:
    """What a user's event counts as: its verdict, and the sessions that it swept or implied with it."""
    verdicts: Counter[str] = Counter()
    add_verdicts(verdicts, event)
    return verdicts


def add_verdicts(verdicts: Counter[str], event: UserEvent) -> None:
    """Count it among others."""
    if isinstance(event, Swept):
        verdicts["swept"] += len(event.ended)
        return
    verdicts[event.verdict] += 1
    if isinstance(event, WebhookObserved):
        if event.swept:
            verdicts["swept"] += len(event.swept)
        if implied := event.implied + event.implied_elsewhere:
            verdicts["implied"] += implied
