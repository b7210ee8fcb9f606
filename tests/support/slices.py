"""Slices of ledgers that never lay in a database: made of the events of a reconciler in memory."""

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ledger.domain import imported, source
from ledger.domain.alert_events import AlertAcknowledged, AlertBegan, AlertEnded, Figures
from ledger.domain.event_types import Event, UserEvent
from ledger.domain.events import BodyRejected, ServiceStarted
from ledger.domain.evolve import evolve
from ledger.domain.instants import from_datetime, to_datetime
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import DEFAULT_POLICY, RULES_VERSION, Policy
from ledger.domain.presence import Presence
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import NodeDown, RunCounts, RunEnded, RunStarted, SourceDark, SourceLit
from ledger.domain.source import SourceState, evolve_source
from ledger.replay.placed import placed
from ledger.replay.replayed import Replayed, add_up
from ledger.replay.slice import Trial, replay_events, replay_slice
from ledger.slices import writing
from ledger.slices.form import FORMAT, EventLine, LedgerLine, RecordedPosition, Slice, SliceHeader, StateLine
from ledger.slices.share import Share
from ledger.sources.wukongim.answers import Boot
from ledger.store.mapper import EventMapper, source_stream, user_stream
from tests.support.reconciler import SOURCE, Kept, Reconciler

MAPPER = EventMapper()

LONG_AGO: Instant = 1_700_000_000 * SECOND
"""Before any ledger of a test's own has anything on record."""

LineT = TypeVar("LineT", EventLine, StateLine)


def slice_of(kept: Sequence[Kept], start: int = 0) -> Slice:
    """The slice from about a position on: as `--from` does, it begins with whatever was recorded at one instant."""
    lines = list(_lines(kept))
    since = lines[start].recorded_at if start < len(lines) else None
    before = [line for line in lines if since is None or line.recorded_at < since]
    began = RecordedPosition(before[-1].position, before[-1].recorded_at) if before else RecordedPosition(0)
    head = RecordedPosition(lines[-1].position, lines[-1].recorded_at) if lines else RecordedPosition(0)
    return Slice(header(began=began, head=head), [*_states(before), *lines[len(before) :]])


def header(**fields: object) -> SliceHeader:
    """The header of a slice of everything, but for these fields."""
    plain = {
        "format": FORMAT,
        "software_version": "0",
        "rules_version": RULES_VERSION,
        "since": None,
        "until": None,
        "users": None,
        "pseudonymised": False,
        "policies": {SOURCE: DEFAULT_POLICY},
        "began": RecordedPosition(0),
        "head": RecordedPosition(0),
    }
    return SliceHeader(**{**plain, **fields})  # type: ignore[arg-type]


def written(taken: Slice, path: Path) -> Path:
    """The slice in a file."""
    with writing.opened(path, force=True) as stream:
        writing.write(taken, stream)
    return path


def replayed(taken: Slice, **policy: float) -> Replayed:
    """What judging it again comes to, with other numbers of the policy."""

    def change(recorded: Policy) -> Policy:
        return msgspec.structs.replace(recorded, **policy)

    return replay_slice(taken, MAPPER, Trial(change))


def replayed_in_shares(
    taken: Slice, number: int, policy: Mapping[str, float], *, with_stories: bool = True
) -> Replayed:
    """The same, with the users divided among so many who judge."""

    def change(recorded: Policy) -> Policy:
        return msgspec.structs.replace(recorded, **policy)

    trial = Trial(change, with_stories=with_stories)
    events = [(placed(line, MAPPER), isinstance(line, StateLine)) for line in taken.lines]

    def judged(share: Share) -> Replayed:
        own = [(each, is_state) for each, is_state in events if each.source or share.has(each.uid)]
        before, after = ([each for each, is_state in own if is_state is wanted] for wanted in (True, False))
        return replay_events(taken.header, before, after, trial, share)

    return add_up([judged(Share(index, number)) for index in range(number)])


def event_of(line: LedgerLine) -> Event:
    """A line's event."""
    return MAPPER.event(line.event_kind, bytes(line.payload))


def _lines(kept: Iterable[Kept]) -> Iterator[EventLine]:
    versions: dict[str, int] = defaultdict(int)
    at, batch = 0, 0
    for each in kept:
        if each.batch != batch:
            at, batch = max(at, _instant(each.event)), each.batch
        stream = source_stream(SOURCE) if each.uid is None else user_stream(each.uid)
        versions[stream] += 1
        yield line_of(EventLine, each.event, stream, versions[stream], each.position, to_datetime(at))


def _states(lines: Sequence[EventLine]) -> list[StateLine]:
    last = {line.stream: line for line in lines}
    presences: dict[str, Presence] = {}
    state = SourceState(SOURCE)
    for line in lines:
        event = event_of(line)
        if isinstance(event, UserEvent):
            uid = line.stream.removeprefix("user:")
            presences[uid] = evolve(presences.get(uid) or Presence(uid), event, line.position)
        else:
            state = evolve_source(state, event, line.position)
    states: list[StateLine] = []
    for line in sorted(last.values(), key=lambda line: line.position):
        uid = line.stream.removeprefix("user:")
        carried: Event = (
            source.as_imported(state)
            if uid == line.stream
            else imported.as_imported(presences[uid], from_datetime(line.recorded_at))
        )
        states.append(line_of(StateLine, carried, line.stream, line.version, line.position, line.recorded_at))
    return states


def line_of(kind: type[LineT], event: Event, stream: str, version: int, position: int, recorded_at: datetime) -> LineT:
    """The line of an event."""
    event_kind, payload = MAPPER.kind_and_payload(event)
    return kind(
        position=position,
        stream=stream,
        version=version,
        event_kind=event_kind,
        recorded_at=recorded_at,
        payload=msgspec.Raw(payload),
    )


def _instant(event: Event) -> Instant:
    for name in ("received_at", "answered_at", "at"):
        at = getattr(event, name, None)
        if at is not None:
            return int(at)
    raise TypeError(type(event).__name__)


def eventful(at: Instant = LONG_AGO, uids: Sequence[str] = ("alice", "bob", "carol", "dora")) -> Reconciler:
    """A ledger in memory that holds nearly every kind of event: users, lies, a boot, and what was rejected."""
    alice, bob, carol, dora = uids
    world = Reconciler(Profile.V2_2, policy=Policy(grace_seconds=1.0), at=at)
    world.append(ServiceStarted(at=world.at, instance="i", software_version="0"))
    world.probe("n1", boot_at(world.at - 3600 * SECOND))
    for _ in range(2):
        world.hear("n1", f"{alice}-0-1-1-1-1", f"{bob}-1-1-2-1-1", f"no claim of {dora}", f"{carol}-0-1-3-1-3")
        world.pass_time(1.0)
    world.append(body_rejected(world.at, carol))
    world.append(RunStarted(run="r1", at=world.at, instance="i", scope="manual", users=1, uids=(alice,)))
    world.pass_time(10.0)
    for _ in range(2):
        # One is gone without a word, and another was never heard of.
        world.answer(world.ask([alice, bob, dora]), {alice: {0: 1}, carol: {0: 1}, dora: {0: 2}})
        world.pass_time(4.0)
    world.hear("n1", f"{bob}-1-0-2-0-0")
    world.set_tier(alice, "vip")
    world.override(bob, "online", 3600.0, until_evidence=False)
    world.override(alice, "offline", 3600.0, until_evidence=True)
    world.append(
        RunEnded(
            run="r1",
            at=world.at,
            started_at=world.at,
            scope="manual",
            outcome="completed",
            counts=RunCounts(polls=1),
            failures={"n1": f"500 for {carol}"},
        )
    )
    world.append(NodeDown(node="n1", at=world.at, since=world.at, reason=f"cannot reach {alice}"))
    world.pass_time(5.0)
    world.probe("n1", boot_at(world.at - SECOND))
    world.hear("n1", f"{alice}-0-1-1-1-1")
    world.pass_time(2.0)
    world.hear("n1", f"{alice}-0-0-1-0-0")
    world.append(SourceDark(at=world.at, since=world.at))
    world.append(SourceLit(at=world.at, by="webhook"))
    alert: dict[str, Any] = {"alert": "a", "name": "query_api_failing", "at": world.at, "subject": "n1"}
    figures: Figures = {"reason": f"cannot reach {alice}", "failures": 2}
    began: dict[str, Any] = {"since": world.at - SECOND, "figures": figures}
    world.append(AlertBegan(**alert, **began, severity="warning", rests_on=(1, 2)))
    world.append(AlertAcknowledged(**alert, by="oncall"))
    world.append(AlertEnded(**alert, **began))
    return world


def body_rejected(at: Instant, text: str) -> BodyRejected:
    """A body of that text, which is no array."""
    body = text.encode()
    return BodyRejected(
        delivery="d",
        node="n1",
        received_at=at,
        reason="not an array",
        raw_base64=base64.b64encode(body).decode(),
        size=len(body),
        digest=hashlib.sha256(body).hexdigest(),
    )


def boot_at(at: Instant) -> Boot:
    """What a probe says of a node that booted then."""
    return Boot(at - SECOND, at, 1001)
