"""One event that cannot be read: what comes to it names its position, and the command that tells what befell it."""

import msgspec
import pytest
from eventsourcing.persistence import StoredEvent

from ledger.domain.source import SourceState
from ledger.http import problems
from ledger.http.outages import Outages
from ledger.reconcile.requests import request_run
from ledger.store.ledger import Ledger
from ledger.store.mapper import EventMapper, UnknownKind, UnreadableEvent
from ledger.working_state import runs
from ledger.working_state.sources import SourceUnreadable
from projections.queries import history
from projections.queries.evidence_rows import RecordedHistory
from tests.support import newer, pg
from tests.support.command import call
from tests.support.ledgers import SEAL_KEY, configure, opened

UNREADABLE = [
    ("webhook_observed.v2", b'["s"\x80', UnreadableEvent),
    ("webhook_observed.v2", b'["\xff"]', UnreadableEvent),
    ("webhook_observed.v2", b"[17]", UnreadableEvent),
    ("erased.v1", b"{}", UnknownKind),
]


def spoil(ledger: Ledger, kind: str, payload: bytes) -> int:
    """Append an event that cannot be read; its position."""
    configure(ledger, "one", sources=("main",))
    positions = ledger.events_recorder.insert_events([StoredEvent("user:u", 1, kind, payload)])
    assert positions is not None
    return positions[0]


@pytest.mark.parametrize(("kind", "payload", "error"), UNREADABLE)
def test_who_reads_it_names_its_position(
    database_url: str, kind: str, payload: bytes, error: type[UnreadableEvent]
) -> None:
    says = r"^At position 3 the ledger holds an event of kind .*\n`presence-ledger verify` tells"
    with opened(database_url) as ledger:
        assert spoil(ledger, kind, payload) == 3
        [row] = ledger.events_recorder.ledger_rows(after=2, limit=1)
        with pytest.raises(error, match=says) as raised:
            ledger.event(row)
        with ledger.connection() as connection, pytest.raises(error, match=says):
            history.presences_at(connection, EventMapper(), ["u"], 3)
        with ledger.connection() as connection, pytest.raises(error, match=says):
            RecordedHistory(connection, EventMapper()).at([3])
    answer = problems.from_ledger_error(raised.value, Outages.none_yet(), "/v1/ledger/events")
    assert (answer.status_code, b"At position 3 the ledger" in bytes(answer.body)) == (500, True)


def test_a_run_whose_end_cannot_be_read_names_it(database_url: str) -> None:
    with opened(database_url) as ledger:
        configure(ledger, sources=("main",))
        run = request_run(ledger, "main", [], "i", 0)
        stored = StoredEvent("source:main", 4, "run_ended.v1", b'{"run":"%s","at":"noon"}' % run.encode())
        ledger.events_recorder.insert_events([stored])
        with ledger.connection() as connection, pytest.raises(UnreadableEvent, match="At position 4 the ledger holds"):
            runs.one(connection, EventMapper(), run)


def test_rules_of_the_past_that_cannot_be_read_name_their_position(database_url: str) -> None:
    with opened(database_url) as ledger:
        configure(ledger, sources=("main",))
        position = newer.configure(ledger)
        says = rf"^At position {position} the ledger holds an event of kind 'configured\.v1' that cannot be read"
        with ledger.connection() as connection:
            with pytest.raises(UnreadableEvent, match=says):
                history.as_of(connection, EventMapper(), ["u"], 0, position)
            history.as_of(connection, EventMapper(), ["u"], 0, position - 1)


def test_a_source_whose_stream_cannot_be_read_is_worth_another_attempt() -> None:
    why = UnreadableEvent("At position 3 the ledger holds an event of kind 'erased.v1'")
    answer = problems.from_ledger_error(
        SourceUnreadable(SourceState("main"), why), Outages.none_yet(), "/hooks/main/n1/x"
    )
    assert (answer.status_code, answer.media_type) == (503, "application/problem+json")
    body = msgspec.json.decode(answer.body)
    assert (body["title"], body["status"]) == ("Source unreadable", 503)
    assert body["detail"] == f"The state of source 'main' is not known. {why}"


@pg.on_every_server
def test_replay_and_export_name_it(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    with opened(database_url) as ledger:
        spoil(ledger, "webhook_observed.v2", b"[17]")
    folder = tmp_path_factory.mktemp("data")
    for arguments in (("replay",), ("export", "--pseudonymise", str(folder / "slice.ndjson"))):
        done = call(*arguments, DATABASE_URL=database_url, DATA_DIR=str(folder), SEAL_KEYS=SEAL_KEY.text)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith("presence-ledger: At position 3 the ledger holds an event")
        assert done.stderr.count("\n") == 2
