"""By how much a node's clock is off ours, as far as the `Date` of its answers tells: it has whole seconds."""

import email.utils

from ledger.domain.observation import SECOND, Instant


def clock_offset(date: str | None, asked_at: Instant, answered_at: Instant) -> float | None:
    """Seconds that the node's clock is ahead of ours, at least; negative where it is behind. None: it does not say.

    It was read at some moment between the question and its answer, and within the second that it names.
    """
    if date is None:
        return None
    try:
        told = round(email.utils.parsedate_to_datetime(date).timestamp()) * SECOND
    except (ValueError, OverflowError):
        return None
    if told > answered_at:
        return (told - answered_at) / SECOND
    return min(0, told + SECOND - asked_at) / SECOND
