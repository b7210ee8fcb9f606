"""The service's own part in the record: its start, its stop, and the configuration that the rules read from here on."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ledger.domain.events import Configured, ServiceStarted, ServiceStopped
from ledger.domain.history import SourceEvent
from ledger.domain.observation import Instant
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState
from ledger.ingest.draft import Draft
from ledger.store.ledger import Ledger, translated
from ledger.store.recorder import Rows
from projections import sources


class Configuration(NamedTuple):
    """What the rules read of one source's settings."""

    policy: Policy
    profile: Profile
    nodes: dict[str, Profile]


def announce_start(
    ledger: Ledger, instance: str, version: str, configurations: Mapping[str, Configuration], at: Instant
) -> None:
    """Record the start in each source's stream, and its configuration where that is another than the newest."""

    def events(source: SourceState) -> Sequence[SourceEvent]:
        wanted = configurations[source.name]
        started: list[SourceEvent] = [ServiceStarted(at=at, instance=instance, software_version=version)]
        if source.version == 0 or Configuration(source.policy, source.profile, source.node_profiles) != wanted:
            started.append(Configured(at=at, instance=instance, **wanted._asdict()))
        return started

    _append(ledger, list(configurations), events)


def announce_stop(ledger: Ledger, instance: str, names: Sequence[str], at: Instant) -> None:
    """Record an orderly stop in each source's stream."""
    _append(ledger, names, lambda _: [ServiceStopped(at=at, instance=instance)])


def _append(ledger: Ledger, names: Sequence[str], events: Callable[[SourceState], Sequence[SourceEvent]]) -> None:
    """Append to each source's stream what its state, read under the lock, calls for."""
    with translated(), ledger.events_recorder.commit() as commit:
        with ledger.connection() as connection:
            states = {name: sources.load(connection, ledger, name) for name in names}
        draft = Draft(states, {}, commit.head)
        rows, rules_position = Rows(), dict.fromkeys(names, 0)
        for name, state in states.items():
            for event in events(state):
                recorded = draft.append_to_source(name, event)
                kind, payload = ledger.events_mapper.kind_and_payload(event)
                rows.add(recorded.originator_id, recorded.originator_version, kind, payload)
                if sources.changes_rules(event):
                    rules_position[name] = draft.head
        commit.append(rows.pack())
        sources.write(commit.cursor, [sources.row_of(draft.source(name), rules_position[name]) for name in names])
        commit.notify()
