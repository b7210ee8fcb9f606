"""What the feed tells in one step: users and sources that are shown otherwise, and up to where that is all."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from ledger.domain.events import Status
from ledger.domain.observation import Instant
from projections.models.shown import AnswerPoint


class Previous(NamedTuple):
    """What was shown before a change."""

    status: Status
    since: Instant | None


class Change(NamedTuple):
    """A user of whom something else is shown now: the answer but for its `as_of`, and what was shown before."""

    uid: str
    body: bytes
    previous: Previous


class SourceChange(NamedTuple):
    """A source went dark, so that nobody in it is known about, or is heard again."""

    source: str
    status: Literal["dark", "lit"]
    since: Instant


class Step(NamedTuple):
    """What has changed; each presence is as of `made`. More is to be had at once where `more` is set."""

    made: AnswerPoint
    changes: Sequence[Change]
    swept: Sequence[Change]
    """What those who watch everybody are told beside these: of users in a source whose state has changed."""
    sources: Sequence[SourceChange]
    told: AnswerPoint
    """Up to here whoever watches named users has been told everything."""
    told_everybody: AnswerPoint
    """Up to here those who watch everybody have: behind, while all users of a source are gone through."""
    more: bool
    hidden: frozenset[str] = frozenset()
    """Users of whom those who watch everybody are not told: canaries."""


class WentBackError(Exception):
    """The ledger ends before what has been told: it is another one now, or an older state of it."""


class Answers(NamedTuple):
    """What is answered of some users, each but for its `as_of`, which is `made`."""

    made: AnswerPoint
    bodies: list[tuple[str, bytes]]


class Missed(NamedTuple):
    """What has changed since somebody was told last, as of `made`."""

    made: AnswerPoint
    changes: list[Change]
    sources: list[SourceChange]


class PresencePage(NamedTuple):
    """Some of all users, by uid; `last` is where the next page goes on, None at the end."""

    made: AnswerPoint
    bodies: list[tuple[str, bytes]]
    last: str | None
