"""A statement of an explanation: a code, the facts that it is made of, and the positions of the events behind it."""

from typing import Literal, TypeAlias

import msgspec

from ledger.domain.codes import ABOUT, About
from ledger.domain.observation import Instant
from ledger.domain.presence import Cause
from ledger.domain.status import Reason, Shown

Level: TypeAlias = Literal["certain", "likely", "doubtful", "refuted", "unknown"]
"""How sure it is that what was shown was so: confirmed afterwards; not contradicted; open to doubt; proven wrong
afterwards; nothing was claimed."""

Param: TypeAlias = str | float

Facts: TypeAlias = dict[str, Param | None]

INSTANTS = frozenset({"at", "since", "until", "earliest", "latest"})


def is_instant(name: str) -> bool:
    """Whether a param of that name is an instant."""
    return name.endswith("_at") or name in INSTANTS


class Statement(msgspec.Struct, frozen=True, gc=False):
    """`positions` are empty only where the ledger is: that there is nothing is said with how far was searched."""

    code: str
    about: About
    positions: tuple[int, ...]
    params: dict[str, Param] = {}


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a user was shown as they were at an instant, as known at `position` of the ledger."""

    uid: str
    at: Instant
    position: int
    shown: Shown
    confidence: Level
    statements: tuple[Statement, ...]

    @property
    def reason(self) -> Reason | None:
        return self.shown.reason

    @property
    def cause(self) -> Cause | None:
        return self.shown.cause


def say(code: str, *positions: int, **params: Param | None) -> Statement:
    """A statement of a known code; what is not known, None, is left out of its params."""
    known = {name: value for name, value in params.items() if value is not None}
    return Statement(code, ABOUT[code], tuple(dict.fromkeys(positions)), known)
