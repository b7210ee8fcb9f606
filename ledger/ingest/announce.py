"""The service's own part in the record: its start, its stop, and the configuration that the rules read from here on.

A source whose stream cannot be read cannot be written to either, which does not keep the others from being told.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.events import Configured, ServiceStarted, ServiceStopped
from ledger.domain.observation import Instant
from ledger.domain.policy import RULES_VERSION, Policy
from ledger.domain.profile import Profile
from ledger.ingest.append import append
from ledger.ingest.draft import Draft
from ledger.store.ledger import Ledger
from ledger.store.mapper import Recorded, source_stream
from ledger.working_state.sources import SourceUnreadable


class Configuration(NamedTuple):
    """What the rules read of one source's settings."""

    policy: Policy
    profile: Profile
    nodes: dict[str, Profile]


def announce_start(
    ledger: Ledger,
    instance: str,
    version: str,
    configurations: Mapping[str, Configuration],
    at: Instant,
    started_at: Instant | None = None,
    come_back: Collection[str] = (),
) -> dict[str, SourceUnreadable]:
    """Record the start in each source's stream, and its configuration where that or the rules are not the newest.

    What is on record is not recorded again, so that it may be told once more where the ledger went back. It was at
    `started_at` where it is told late. Of sources that `come_back` the stop is on record, so that their start is
    recorded once more. -> why it is not on record, by source. Raises StoreUnavailable.
    """
    already_told: set[str] = set()

    def load(connection: Connection[TupleRow]) -> None:
        already_told.update(ledger.events_recorder.streams_with_start(instance, connection))

    def events(draft: Draft, name: str) -> Iterator[Recorded]:
        source, wanted = draft.source(name), configurations[name]
        known = Configuration(source.policy, source.profile, source.node_profiles)
        is_news = source.version == 0 or (known, source.rules_version) != (wanted, RULES_VERSION)
        started = at if started_at is None else started_at
        if source_stream(name) not in already_told or name in come_back:
            yield draft.append_to_source(name, ServiceStarted(at=started, instance=instance, software_version=version))
        if is_news:
            event = Configured(at=at, instance=instance, rules_version=RULES_VERSION, **wanted._asdict())
            yield draft.append_to_source(name, event)

    return _append_to_each(ledger, configurations, events, load)


def announce_stop(ledger: Ledger, instance: str, names: Iterable[str], at: Instant) -> dict[str, SourceUnreadable]:
    """Record an orderly stop in each source's stream -> why it is not on record, by source. Raises StoreUnavailable."""

    def events(draft: Draft, name: str) -> Iterator[Recorded]:
        yield draft.append_to_source(name, ServiceStopped(at=at, instance=instance))

    return _append_to_each(ledger, names, events)


def _append_to_each(
    ledger: Ledger,
    names: Iterable[str],
    source_events: Callable[[Draft, str], Iterator[Recorded]],
    load: Callable[[Connection[TupleRow]], None] | None = None,
) -> dict[str, SourceUnreadable]:
    """Append to the streams of all that can be read, in one commit -> those that cannot."""
    readable, unreadable = list(names), dict[str, SourceUnreadable]()

    def events(draft: Draft) -> Iterator[Recorded]:
        for name in readable:
            yield from source_events(draft, name)

    while True:
        try:
            append(ledger, dict.fromkeys(readable), (), events, load=load)
        except SourceUnreadable as error:
            unreadable[error.source] = error
            readable.remove(error.source)
        else:
            return unreadable
