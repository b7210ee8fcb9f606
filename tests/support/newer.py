"""What a version newer than ours leaves of a source: events and states that we do not know, and more."""

from eventsourcing.persistence import StoredEvent
from msgspec.structs import replace

from ledger.domain.events import Configured, DeliveryReceived
from ledger.domain.observation import SECOND
from ledger.domain.source import evolve_source
from ledger.ingest.clock import Clock
from ledger.store.ledger import Ledger
from ledger.store.mapper import source_stream
from ledger.working_state import sources
from ledger.working_state.sources import SourceUnreadable
from tests.support.ledgers import SOURCE

KIND = "source_muted.v1"
SAYS = rf"^The state of source '{SOURCE}' is not known\. At position \d+ the ledger holds an event of kind '{KIND}', "
SAYS_KEPT = (
    rf"^The state of source '{SOURCE}' is not known\. "
    r"Its state kept at version \d+ cannot be read; run the newer version that wrote it$"
)
DELIVERIES = 1_001
"""More than are read at once when bodies are looked for, and longer apart than those are looked for."""


def leave_an_event(ledger: Ledger, name: str = SOURCE, kind: str = KIND, payload: bytes = b"{}") -> int:
    """Append an event that cannot be read here -> its position."""
    [last] = ledger.events_recorder.stream_rows(source_stream(name), descending=True, limit=1)
    positions = ledger.events_recorder.insert_events([StoredEvent(last.stream, last.version + 1, kind, payload)])
    assert positions is not None
    return positions[0]


def configure(ledger: Ledger, name: str = SOURCE) -> int:
    """Configure a source for servers that we do not know, and keep the state that it comes to -> the position."""
    with ledger.connection() as connection:
        state = sources.load(connection, ledger, name)
    event = Configured(
        at=Clock().now(), instance="newer", rules_version=state.rules_version,
        policy=state.policy, profile=state.profile, nodes=state.node_profiles,
    )  # fmt: skip
    kind, payload = ledger.events_mapper.kind_and_payload(event)
    position = leave_an_event(ledger, name, kind, with_new_profile(payload))
    row = sources.to_row(evolve_source(state, event, position), position)
    with ledger.connection() as connection:
        sources.write(connection.cursor(), [row._replace(state=with_new_profile(row.state))])
    return position


def with_new_profile(kept: bytes) -> bytes:
    """What a newer version keeps of a source whose servers' profile we do not know."""
    changed = kept.replace(b'"v2.2"', b'"v4"')
    assert changed != kept
    return changed


def keep(ledger: Ledger, state: bytes, name: str = SOURCE) -> None:
    """Have this kept of a source in the place of what is."""
    with ledger.connection() as connection:
        connection.execute(
            "UPDATE source_states SET state = %s, rules_position = rules_position + 1 WHERE source = %s", (state, name)
        )


def go_on(ledger: Ledger, name: str = SOURCE) -> None:
    """Append deliveries that anybody can read, and keep the state that they come to."""
    [last] = ledger.events_recorder.stream_rows(source_stream(name), descending=True, limit=1)
    with ledger.connection() as connection:
        try:
            state = sources.load(connection, ledger, name)
        except SourceUnreadable as error:
            state = replace(error.state, version=last.version)
        stored = []
        began = Clock().now() - DELIVERIES * SECOND
        for number in range(DELIVERIES):
            received_at = began + number * SECOND
            delivery = f"later-{number}"
            event = DeliveryReceived(
                delivery=delivery, node="n1", received_at=received_at, digest=delivery, size=2, items=0
            )
            state = evolve_source(state, event, 0)
            kind, payload = ledger.events_mapper.kind_and_payload(event)
            stored.append(StoredEvent(source_stream(name), state.version, kind, payload))
        ledger.events_recorder.insert_events(stored)
        sources.write(connection.cursor(), [sources.to_row(state)])
