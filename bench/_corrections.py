"""Is every correction right by what stands before it in the ledger: by its user's state, and by the answer it cites?"""

from collections import Counter
from collections.abc import Iterator

from ledger.domain.drift import held_in
from ledger.domain.event_types import Event
from ledger.domain.events import SessionId, WebhookObserved
from ledger.domain.evolve import evolve
from ledger.domain.override_events import UserOverridden
from ledger.domain.presence import Presence
from ledger.domain.reconciliation_events import Corrected, PollObserved, Swept, TierSet
from ledger.reconcile.judge import read_connections, read_rows

NO_POLL = "its poll is not on record"
NOTHING = "it changes nothing"
OVERTAKEN = "evidence of the user was recorded after the question"
REPEATED = "it was made before"
NOT_HELD = "it closes what was not open"
NOT_NAMED = "it leaves other connections than the answer names"
HELD = "it opens what was open"


class Corrections:
    """Takes in a whole ledger, event by event.

    What one correction did, another one may do once more, for the same drift, too: while a second look at a connection
    is to come, another window opens, and another one after that, and no answer tells the two apart. It is the first of
    its evidence all the same if nothing was recorded of the user since its question, no correction of theirs cites the
    same answer, and their connections are those of the answer after it.
    """

    def __init__(self) -> None:
        self.number = 0
        self._presences: dict[str, Presence] = {}
        self._polls: dict[str, PollObserved] = {}
        self._made: set[tuple[str, str]] = set()
        """User and poll of each."""

    def take(self, position: int, uid: str | None, event: Event) -> list[str]:
        """What is wrong with the event, if it is a correction; `uid` None: it is of a source."""
        if isinstance(event, PollObserved):
            self._polls[event.poll] = event
        if uid is None or not isinstance(event, WebhookObserved | Corrected | Swept | TierSet | UserOverridden):
            return []
        before = self._presences.get(uid) or Presence(uid)
        after = self._presences[uid] = evolve(before, event, position)
        if not isinstance(event, Corrected):
            return []
        self.number += 1
        return [f"{uid} at {position}: {fault}" for fault in self._faults(event, before, after)]

    def _faults(self, event: Corrected, before: Presence, after: Presence) -> Iterator[str]:
        if before.flip is not None and before.devices == after.devices:
            yield NOTHING
        if (before.uid, event.poll) in self._made:
            yield REPEATED
        self._made.add((before.uid, event.poll))
        if Counter(event.closed) - Counter(held.id for held in held_in(before, event.source)):
            yield NOT_HELD
        poll = self._polls.get(event.poll)
        if poll is None:
            yield NO_POLL
            return
        if before.evident_position > poll.head:
            yield OVERTAKEN
        rows = poll.rows.get(after.uid, "")
        if "connz" in poll.route:
            if _is_open_twice(rows, event, after):
                yield HELD
        elif _is_other_than(rows, event, after):
            yield NOT_NAMED


def _is_other_than(rows: str, event: Corrected, after: Presence) -> bool:
    """Whether a device flag that the correction touched has another number of connections than the answer names."""
    touched = {opened.device_flag for opened in event.opened} | {closed.device_flag for closed in event.closed}
    named = read_rows(rows)
    held = Counter(held.device.device_flag for held in held_in(after, event.source))
    return any(held[flag] != named.get(flag, 0) for flag in touched if flag is not None)


def _is_open_twice(rows: str, event: Corrected, after: Presence) -> bool:
    """Whether a connection that the correction opened is there more often than the answer names its connId.

    Two nodes of a cluster may use the same one, and which of them holds a session need not be known.
    """
    named = Counter(connection.conn_id for connection in read_connections(rows))
    held = Counter((held.id, held.session.held_by or held.session.node) for held in held_in(after, event.source))
    return any(
        held[SessionId(opened.scope, opened.device_flag, opened.conn_id), opened.node] > named[opened.conn_id]
        for opened in event.opened
        if opened.conn_id is not None
    )
