"""Fills a ledger without the service: real bodies judged by the product's own rules, brought in by COPY and sealed."""

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import count, islice
from typing import Any

import psycopg
from psycopg import Cursor

from bench._crowd import Crowd
from bench._report import progress
from bench._service import SEAL_KEY
from ledger.domain.event_types import SourceEvent
from ledger.domain.events import Configured
from ledger.domain.policy import DEFAULT_POLICY, RULES_VERSION
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState
from ledger.http.hooks import new_delivery_id
from ledger.ingest.draft import Draft, read_webhook
from ledger.store import partitions, seal, seals
from ledger.store.mapper import EventMapper, Recorded
from ledger.store.rows import Rows
from ledger.store.seal import SealChain
from ledger.working_state import sources
from projections.models import current

SOURCE = "main"
ROWS_A_COPY = 50_000
SEALED_ROWS = 1_000
"""Under one seal, about as many as the service commits at once."""
PROGRESS_EVENTS = 1_000_000
REJECTED_BYTES = 65_536

_EVENTS_IN = "COPY events (stream, version, position, kind, payload, recorded_at) FROM STDIN (FORMAT BINARY)"


class Seeder:
    """Writes into one empty ledger, and goes on from there later if nobody else wrote meanwhile.

    The crowds are those of the nodes n1, n2 …, and have told of nothing yet.
    """

    def __init__(self, url: str, crowds: Sequence[Crowd]) -> None:
        self._url = url
        self._crowds = crowds
        self._mapper = EventMapper()
        self._draft = Draft({SOURCE: SourceState(SOURCE)}, {}, 0, REJECTED_BYTES)

    def everybody_online(self) -> None:
        """An event for each user."""
        self._store(
            event
            for node, crowd in enumerate(self._crowds)
            for body in crowd.first_bodies(1000)
            for event in self._judged(node, body)
        )

    def come_and_go(self, events: int, body_items: int = 512, over_seconds: float = 0.0) -> None:
        """So many events more, the nodes taking turns, spread over so long a time up to now."""

        def endless() -> Iterator[Recorded]:
            for number in count():
                node = number % len(self._crowds)
                ago = over_seconds * (1 - min(1.0, number * body_items / events))
                yield from self._judged(node, self._crowds[node].body(body_items), ago)

        self._store(islice(endless(), events))

    def webhooks(self, bodies: Iterable[tuple[int, bytes]], ago_seconds: float) -> None:
        """The events of these bodies, each with its node's number, as received so long ago."""
        self._store(event for node, body in bodies for event in self._judged(node, body, ago_seconds))

    def of_source(self, events: Iterable[SourceEvent]) -> None:
        """Events of the source."""
        self._store(self._draft.append_to_source(SOURCE, event) for event in events)

    def _judged(self, node: int, body: bytes, ago_seconds: float = 0.0) -> Iterator[Recorded]:
        at = time.time_ns() // 1000 - round(ago_seconds * 1_000_000)
        if self._draft.head == 0:
            nodes = {f"n{number + 1}": Profile.V2_2 for number in range(len(self._crowds))}
            configured = Configured(
                at=at,
                instance="seed",
                policy=DEFAULT_POLICY,
                profile=Profile.V2_2,
                nodes=nodes,
                rules_version=RULES_VERSION,
            )
            yield self._draft.append_to_source(SOURCE, configured)
        yield from self._draft.add(read_webhook(new_delivery_id(), SOURCE, f"n{node + 1}", at, body, REJECTED_BYTES))

    def _store(self, events: Iterator[Recorded]) -> None:
        """Bring them in, in large transactions, and then the states as they are after the last one."""
        with psycopg.connect(self._url) as connection, connection.cursor() as cursor:
            position, last = self._head(cursor)
            chain = SealChain(SEAL_KEY, last)
            while part := list(islice(events, ROWS_A_COPY)):
                self._copy(cursor, part, position, chain)
                position += len(part)
                connection.commit()
                if position // PROGRESS_EVENTS != (position - len(part)) // PROGRESS_EVENTS:
                    progress(f"{position:,} events in the ledger")
            cursor.execute("DELETE FROM current")
            current.write(cursor, list(current.to_rows(self._draft.presences.values())))
            sources.write(cursor, [sources.to_row(self._draft.source(SOURCE), rules_position=1)])
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")

    def _copy(self, cursor: Cursor[Any], part: Sequence[Recorded], position: int, chain: SealChain) -> None:
        at, rows = datetime.now(UTC), Rows()
        partitions.make_room(cursor, position + len(part))
        with cursor.copy(_EVENTS_IN) as copy:
            copy.set_types(["text", "int8", "int8", "text", "bytea", "timestamptz"])
            for number, recorded in enumerate(part, position + 1):
                kind, payload = self._mapper.kind_and_payload(recorded.event)
                copy.write_row((recorded.originator_id, recorded.originator_version, number, kind, payload, at))
                rows.add(recorded.originator_id, recorded.originator_version, kind, payload)
        digests = seal.digests(rows.streams, rows.versions, rows.kinds, rows.payloads)
        for start in range(0, len(part), SEALED_ROWS):
            run = slice(start * seal.DIGEST_BYTES, (start + SEALED_ROWS) * seal.DIGEST_BYTES)
            chain.add(position + 1 + start, at, digests[run])
            seals.write(cursor, chain.end())

    def _head(self, cursor: Cursor[Any]) -> tuple[int, bytes | None]:
        """The last position and the last seal."""
        row = cursor.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()
        last = cursor.execute(seals.LAST).fetchone()
        assert row is not None
        return row[0], last and last[0]
