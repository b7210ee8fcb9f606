"""What the recorded polls answer, as the reconciler reads them; and the fence of each, from the heads before it."""

from collections import deque
from typing import NamedTuple

from ledger.domain.drift import Poll
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND, Instant
from ledger.reconcile.probes import PROBE_SECONDS, NodeProbe, ProbeEvent
from ledger.sources.wukongim.answers import (
    Boot,
    NodeConnections,
    OnlineRows,
    Unanswered,
    read_connections,
    read_online_status,
    read_start_time,
    read_uptime,
)
from ledger.sources.wukongim.recording import RecordedPoll

ANSWER_SECONDS = 0.1
"""The recorded question is taken to have been sent so much before its answer: what came in between is newer."""

RUN = "replay"


class Fences:
    """The ledger's head at each of the last instants, so that a recorded answer has the fence of its question."""

    def __init__(self) -> None:
        self._heads: deque[tuple[Instant, int]] = deque(maxlen=1000)
        self._polls = 0

    def note(self, at: Instant, head: int) -> None:
        """The head before or after what happened at an instant."""
        self._heads.append((at, head))

    def answered_poll(self, poll: RecordedPoll) -> Poll:
        """The answered poll, with an id of its own."""
        self._polls += 1
        sent_at = poll.at - round(ANSWER_SECONDS * SECOND)
        head = next((head for at, head in reversed(self._heads) if at <= sent_at), 0)
        route = f"{poll.method} {poll.path}"
        return Poll(f"replayed-{self._polls}", RUN, poll.node, route, poll.at, poll.at, head)


class Probed(NamedTuple):
    """What a probe came to; `refused`: nobody listened, and that means nothing yet."""

    good: bool
    events: list[ProbeEvent]
    refused: bool = False


class RecordedProbes:
    """Each node's recorded `/varz` or `/metrics`, as often as a node is probed."""

    def __init__(self) -> None:
        self._probes: dict[str, NodeProbe] = {}
        self._next: dict[str, Instant] = {}

    def take(self, poll: RecordedPoll, path: str, state: NodeState) -> Probed | None:
        """Take a recorded poll for the next probe; None where that is not due yet."""
        if poll.at < self._next.get(poll.node, poll.at):
            return None
        # Recorded polls follow each other by a second, give or take.
        self._next[poll.node] = poll.at + round((PROBE_SECONDS - 0.1) * SECOND)
        probe = self._probes.setdefault(poll.node, NodeProbe(poll.node))
        answer = _boot(poll, path)
        if isinstance(answer, Boot):
            return Probed(good=True, events=probe.answered(answer, poll.at, poll.at, state, path))
        events = probe.failed(answer, poll.at, poll.at, state)
        return Probed(good=False, events=events, refused=answer.refused and not events)


def rows_in(poll: RecordedPoll) -> OnlineRows | Unanswered:
    """A recorded answer of `/user/onlinestatus`, about all who were asked about."""
    return _failure(poll) or read_online_status(poll.status, poll.body, poll.asked)


def connections_in(poll: RecordedPoll) -> NodeConnections | Unanswered:
    """A recorded answer of `/connz`."""
    return _failure(poll) or read_connections(poll.status, poll.body)


def _boot(poll: RecordedPoll, path: str) -> Boot | Unanswered:
    if (failure := _failure(poll)) is not None:
        return failure
    if path == "/varz":
        return read_uptime(poll.status, poll.body, poll.at, poll.at)
    return read_start_time(poll.status, poll.body)


def _failure(poll: RecordedPoll) -> Unanswered | None:
    """What a recorded error says."""
    if poll.error is None:
        return None
    return Unanswered(poll.error, refused=poll.error == "ConnectError")
