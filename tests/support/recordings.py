"""The recordings of real servers: what may be wrong of each at most, and how wrong a replay of one is."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

FIXTURES = Path(__file__).parents[1] / "fixtures"
RECORDINGS = FIXTURES / "wukongim"

SHARE_SLACK, SECONDS_SLACK = 1.02, 1.0
LOOKS_PER_USER_MINUTE = 15.0
LATE_GOAL = 64.0
"""User-seconds with polls of the recordings that the reference server's rules were tried on: a hundredth of theirs."""

WITHOUT_REFERENCE = ("kick_with_token", "long_after_restart")
"""Kinds of recordings that they were not tried on."""

Line = dict[str, Any]
Bounds = Mapping[str, float]
"""By figure: `wrong`, `late` and `unknown` in user-seconds, `wrong_at_end` in users."""


class Column(NamedTuple):
    """One way of replaying all recordings, with its bounds by recording."""

    title: str
    bounds: Mapping[str, Bounds]
    polls: bool
    policy: tuple[str, ...] = ()
    """`name=value`, as `replay --policy` takes them."""


class Figures(NamedTuple):
    """How wrong a replay was: user-seconds, users wrong at the end, users and user-seconds scored in all."""

    users: int
    user_seconds: float
    wrong: float
    late: float
    unknown: float
    wrong_at_end: int
    looks_per_user_minute: float


def _bounds(file: str) -> dict[str, Bounds]:
    found: dict[str, Bounds] = json.loads((FIXTURES / file).read_text(encoding="utf-8"))
    return found


ALONE = Column("webhooks alone", _bounds("webhooks_alone.json"), polls=False)
WITH_POLLS = Column("with polls", _bounds("with_polls.json"), polls=True, policy=("tier_normal_seconds=5",))


def has_reference(name: str) -> bool:
    """Whether the reference server's rules were tried on that recording."""
    return not name.endswith(WITHOUT_REFERENCE)


def lines_of(name: str) -> list[str]:
    """The lines of a recording, named like `v22/basic`."""
    return (RECORDINGS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()


def score(recording: list[Line], users: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of the fixtures' own script, which stands alone; `users` as `replay --json` prints them."""
    spec = importlib.util.spec_from_file_location("score", FIXTURES / "score.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figures: dict[str, Any] = module.score(recording, users)
    return figures


def figures_of(recording: list[Line], result: Mapping[str, Any]) -> Figures:
    """How wrong a result of `replay --json` is; the recording's length counts from its second 0."""
    found = score(recording, result["users"])
    minutes = max(line.get("t", 0.0) for line in recording) / 60
    return Figures(
        found["users"],
        found["user_seconds"],
        found["wrong"],
        found["late"],
        found["unknown"],
        len(found["wrong_at_end"]),
        result["looks"] / max(1, len(result["users"])) / minutes,
    )


def missed(figures: Figures, bounds: Bounds) -> list[str]:
    """The names of the figures that are over their bound and its slack."""
    both = figures.wrong + figures.unknown, bounds["wrong"] + bounds["unknown"]
    held = {
        "late": _within(figures.late, bounds["late"]),
        "wrong and unknown": _within(*both),
        "users wrong at the end": figures.wrong_at_end <= bounds["wrong_at_end"],
        "looks per user and minute": figures.looks_per_user_minute <= LOOKS_PER_USER_MINUTE,
    }
    return [name for name, is_held in held.items() if not is_held]


def _within(seconds: float, bound: float) -> bool:
    return seconds <= bound * SHARE_SLACK + SECONDS_SLACK
