"""Gathers what alerts are decided on: read from the database where it answers, from this instance where not."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.alerting.instance_note import InstanceNote, counted
from ledger.alerting.source_facts import Loss, Noted, source_facts
from ledger.alerts.definitions import BY_NAME
from ledger.alerts.facts import (
    AlertFacts,
    CanaryFacts,
    NotifyFacts,
    ProjectionFacts,
    SinkFacts,
    SourceFacts,
    StoreFacts,
)
from ledger.domain.observation import SECOND, Instant
from ledger.domain.source import SourceState
from ledger.http.refusals import UNKNOWN
from ledger.settings import Settings
from ledger.store.ledger import Ledger
from ledger.working_state import alerts, canaries, instance_figures, node_health, sinks
from ledger.working_state.alerts import AlertRow
from ledger.working_state.sinks import SinkRow
from projections.engine import checkpoints
from projections.engine.checkpoints import Checkpoint

TOLD_SECONDS = 86_400.0
"""So long after its end people are still told of an alert that they were to be told of."""


class GatheredFacts(NamedTuple):
    """What was read of one moment, or nearly."""

    states: Mapping[str, SourceState]
    noted: Mapping[str, Noted]
    checkpoints: Sequence[Checkpoint]
    sinks: Mapping[str, SinkRow]
    others: Sequence[InstanceNote]
    """The notes of other instances."""
    recent: Sequence[AlertRow]
    """Alerts that are on, or ended lately."""
    canaries: Mapping[str, Mapping[str, CanaryFacts]] = {}
    loss: Mapping[str, Loss] | None = None
    """What was counted last, beside the reading; None: nothing yet."""


def read(
    ledger: Ledger,
    states: Callable[[], Mapping[str, SourceState]],
    instance: str,
    note: InstanceNote,
    now: Instant,
) -> GatheredFacts:
    """Note what this instance knows, and read what all of them do. Raises StoreUnavailable."""
    known = states()
    with ledger.connection() as connection:
        instance_figures.write(connection, instance, msgspec.to_builtins(note), now)
        noted = instance_figures.read(connection, now - round(instance_figures.NOTED_SECONDS * SECOND))
        return GatheredFacts(
            states=known,
            noted=node_health.of_all(connection),
            checkpoints=checkpoints.read(connection),
            sinks=sinks.read(connection),
            others=list(_notes(each for name, each in noted.items() if name != instance)),
            canaries=_canaries(connection),
            # Of a newer version there may be alerts of which this one knows no words.
            recent=[row for row in alerts.recent(connection, _told_from(now)) if row.name in BY_NAME],
        )


def _told_from(now: Instant) -> Instant:
    return now - round(TOLD_SECONDS * SECOND)


def _canaries(connection: Connection[TupleRow]) -> dict[str, dict[str, CanaryFacts]]:
    """By source and node."""
    found: dict[str, dict[str, CanaryFacts]] = {}
    for row in canaries.read(connection):
        reason = (row.last_error if row.failing_since is not None else None) or "no visit has ended since"
        found.setdefault(row.source, {})[row.node] = CanaryFacts(row.quiet_since, reason, row.every_seconds)
    return found


def facts(
    settings: Settings,
    reading: GatheredFacts | None,
    own: InstanceNote,
    notify: Sequence[NotifyFacts],
    store: StoreFacts | None,
    now: Instant,
) -> AlertFacts:
    """Everything as of now; without a reading the database does not answer."""
    if reading is None:
        return AlertFacts(now, instances=[own], notify=notify, store=store)
    notes = [own, *reading.others]
    return AlertFacts(
        now,
        counting_seconds=min(note.counting_seconds for note in notes),
        forbidden=counted(notes).forbidden.get((UNKNOWN, UNKNOWN), 0),
        sources=_sources(settings, reading, notes, now),
        unreadable=[source.name for source in settings.sources if source.name not in reading.states],
        projections=[
            ProjectionFacts(each.name, each.lag, each.stopped_position, each.stopped_reason or "")
            for each in reading.checkpoints
        ],
        sinks=[
            SinkFacts(each.name, row.failing_since, row.last_error or "", row.stopped_at is not None)
            for each in settings.sinks
            if (row := reading.sinks.get(each.name)) is not None and row.paused_at is None
        ],
        instances=notes,
        notify=notify,
        store=store,
    )


def _sources(
    settings: Settings, reading: GatheredFacts, notes: Sequence[InstanceNote], now: Instant
) -> list[SourceFacts]:
    """Those whose state can be read."""
    said = counted(notes)
    return [
        source_facts(
            source,
            reading.states[source.name],
            reading.noted.get(source.name, {}),
            said,
            reading.canaries.get(source.name, {}),
            None if reading.loss is None else reading.loss.get(source.name, {}),
            now,
        )
        for source in settings.sources
        if source.name in reading.states
    ]


def _notes(noted: Iterable[object]) -> Iterable[InstanceNote]:
    """As far as they can be read: another version may note something else."""
    for each in noted:
        try:
            yield msgspec.convert(each, InstanceNote)
        except msgspec.ValidationError:
            continue
