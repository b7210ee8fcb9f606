"""Blind times: when nobody could know who came and went; folded from one source's starts, stops and runs. Pure.

Darkness and nodes that are down come from the source's state; here are the times in which none of our instances ran.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

from ledger.domain.event_types import SourceEvent
from ledger.domain.events import ServiceStarted, ServiceStopped
from ledger.domain.evidence import Placed
from ledger.domain.gaps import LastBefore, gap_before
from ledger.domain.observation import Instant
from ledger.domain.reconciliation_events import RunEnded, RunStarted

BlindKind: TypeAlias = Literal["service_stopped", "source_dark", "node_down", "store_unavailable", "spooling"]

BEFORE_RECORD = "before_record"
"""The time before the first start: not told of, but what happened in it is no loss."""


class BlindTime(NamedTuple):
    """A time in which nobody could know; of a node, or of the whole source where `node` is empty."""

    source: str
    position: int
    """Of the event that told of it."""
    node: str
    kind: str
    """A BlindKind, or BEFORE_RECORD."""
    since: Instant
    until: Instant | None
    reason: str
    last_position: int | None = None
    """Of the event that told of its end."""
    listed_at: Instant | None = None
    """Everybody had been looked at after it by then."""
    others: str = ""
    """Instances that may have been there all the same, by blanks: one that is heard of later was."""

    @property
    def key(self) -> tuple[str, int, str]:
        """What tells them apart."""
        return self.source, self.position, self.node

    @property
    def is_without_us(self) -> bool:
        """Whether none of our instances ran."""
        return self.kind in ("service_stopped", BEFORE_RECORD)

    @property
    def may_change(self) -> bool:
        """Whether a later event may say something of it."""
        return self.until is None or (self.is_without_us and (self.listed_at is None or bool(self.others)))


def before_start(
    start: Placed, started: ServiceStarted, services: Sequence[SourceEvent], last_before: LastBefore
) -> BlindTime | None:
    """The time before a start of ours; `services` are the starts and stops before it, the oldest first."""
    if not any(isinstance(event, ServiceStarted) and event.instance != started.instance for event in services):
        return BlindTime(start.source, start.position, "", BEFORE_RECORD, 0, started.at, "first start", start.position)
    gap = gap_before(start, started, last_before)
    if gap is None:
        return None
    reason = "stopped" if gap.in_order else "killed"
    others = " ".join(sorted(_running(services) - {started.instance}))
    return BlindTime(
        start.source,
        start.position,
        "",
        "service_stopped",
        gap.since,
        gap.until,
        reason,
        start.position,
        others=others,
    )


def _running(services: Iterable[SourceEvent]) -> set[str]:
    """Instances that had started and not stopped in order."""
    running: set[str] = set()
    for event in services:
        if isinstance(event, ServiceStarted):
            running.add(event.instance)
        if isinstance(event, ServiceStopped):
            running.discard(event.instance)
    return running


def after_event(time: BlindTime, event: SourceEvent) -> BlindTime | None:
    """A time without us as a later event of its source leaves it; None: somebody of ours was there all the same."""
    match event:
        case ServiceStopped(instance=instance) | RunStarted(instance=instance) if instance in time.others.split():
            return None
        case RunEnded(scope="start", outcome="completed", at=at) if time.listed_at is None:
            return time._replace(listed_at=at)
        case _:
            return time
