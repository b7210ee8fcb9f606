"""The times in which no instance of ours was running, as far as starts and stops on record tell them."""

from collections.abc import Callable, Iterator, Sequence

from ledger.domain.events import Configured, ServiceStarted, ServiceStopped
from ledger.domain.evidence import Gap, Placed
from ledger.domain.observation import SECOND

LEAST_SECONDS = 1.0
"""A shorter one loses nothing: a webhook that is refused is sent again after a second."""

LastBefore = Callable[[int], Placed | None]
"""The last event of the whole ledger before a position."""


def gaps(services: Sequence[Placed], last_before: LastBefore) -> Iterator[Gap]:
    """The gap before each start but the first; `services` are one source's starts and stops by position."""
    for placed in services:
        if isinstance(placed.event, ServiceStarted) and not _another_ran(services, placed):
            previous = _previous(placed, placed.event.instance, last_before)
            gap = None if previous is None else _gap(previous, placed, placed.event)
            if gap is not None:
                yield gap


def _another_ran(services: Sequence[Placed], start: Placed) -> bool:
    """Whether an instance that had started before stopped in order only afterwards."""
    before = {p.event.instance for p in services if isinstance(p.event, ServiceStarted) and p.position < start.position}
    return any(
        placed.event.instance in before and placed.position > start.position
        for placed in services
        if isinstance(placed.event, ServiceStopped)
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
    if started.at - since < round(LEAST_SECONDS * SECOND):
        return None
    return Gap(since, started.at, (previous.position, start.position), stopped is not None)
