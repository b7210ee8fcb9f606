"""A verdict as `replay --json` shows it: what was said then and now, and in what the two differ."""

from collections.abc import Sequence
from typing import Any

from ledger.domain.events import DeliveryReceived
from ledger.domain.reconciliation_events import Finding
from ledger.replay.judged import Judged, Said


def described(judged: Judged) -> dict[str, Any]:
    """JSON-ready."""
    return {
        "position": judged.position,
        "uid": judged.uid,
        "recorded": [_said(each) for each in judged.recorded],
        "replayed": [_said(each) for each in judged.replayed],
        "differs_in": _differs_in(judged.recorded, judged.replayed),
    }


def _said(said: Said) -> dict[str, Any]:
    match said:
        case DeliveryReceived():
            return {"repeats": said.repeats, "anew": said.anew}
        case Finding():
            return {"drift": said.drift, "outcome": said.outcome}
        case _:
            return {"verdict": said.verdict, "rule": said.rule, "status_after": said.status_after}


def _differs_in(recorded: Sequence[Said], replayed: Sequence[Said]) -> list[str]:
    """The names of fields that are others in the same thing said; [] where other things are said."""
    names: dict[str, None] = {}
    for then, now in zip(recorded, replayed, strict=False):
        if type(then) is type(now):
            names |= {name: None for name in then.__struct_fields__ if getattr(then, name) != getattr(now, name)}
    return list(names)
