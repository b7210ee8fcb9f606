"""The times in which no instance of ours was running, as far as starts and stops on record tell them."""

from collections.abc import Callable, Iterator, Sequence

from ledger.domain.events import Configured, ServiceStarted, ServiceStopped
from ledger.domain.evidence import Gap, Placed
from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciliation_events import RunStarted

MIN_GAP_SECONDS = 0.1
"""The clocks of instances may differ by this much."""

LastBefore = Callable[[int], Placed | None]
"""The last event of the whole ledger before a position."""

RunsAfter = Callable[[int], Sequence[Placed]]
"""The first runs of reconciliation that began after a position."""


def gaps(services: Sequence[Placed], last_before: LastBefore, runs_after: RunsAfter) -> Iterator[Gap]:
    """The gap before each start but the first; `services` are the starts and stops in some sources by position.

    An instance tells of its start in each of its sources: that is one gap.
    """
    known: set[tuple[Instant, Instant]] = set()
    for placed in services:
        if isinstance(placed.event, ServiceStarted):
            gap = gap_before(placed, placed.event, last_before)
            if gap is None or (gap.since, gap.until) in known:
                continue
            known.add((gap.since, gap.until))
            if not _another_ran(services, placed, placed.event.instance, runs_after):
                yield gap


def gap_before(start: Placed, started: ServiceStarted, last_before: LastBefore) -> Gap | None:
    """The time before an instance's start in which nothing was recorded, whoever else may have been there."""
    previous = _previous(start, started.instance, last_before)
    return None if previous is None else _gap(previous, start, started)


def _another_ran(services: Sequence[Placed], start: Placed, instance: str, runs_after: RunsAfter) -> bool:
    """Whether an instance that had started before is heard of afterwards: it stops in order, or begins a run."""
    earlier = [placed.event for placed in services if placed.position < start.position]
    before = {event.instance for event in earlier if isinstance(event, ServiceStarted)} - {instance}
    stopped = [placed for placed in services if placed.position > start.position]
    return any(
        isinstance(placed.event, ServiceStopped | RunStarted) and placed.event.instance in before
        for placed in (*stopped, *runs_after(start.position))
    )


def _previous(start: Placed, instance: str, last_before: LastBefore) -> Placed | None:
    """The last event before an instance told of its start, in whichever stream."""
    previous = last_before(start.position)
    while previous is not None and _is_own(previous, instance):
        previous = last_before(previous.position)
    return previous


def _is_own(placed: Placed, instance: str) -> bool:
    return isinstance(placed.event, ServiceStarted | Configured) and placed.event.instance == instance


def _gap(previous: Placed, start: Placed, started: ServiceStarted) -> Gap | None:
    stopped = previous.event if isinstance(previous.event, ServiceStopped) else None
    since = previous.recorded_at if stopped is None else stopped.at
    if started.at - since < round(MIN_GAP_SECONDS * SECOND):
        return None
    return Gap(since, started.at, (previous.position, start.position), stopped is not None)
