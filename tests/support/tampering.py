"""Changes a ledger as somebody would who holds the database: with its triggers switched off, and without the key."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from eventsourcing.persistence import StoredEvent

from ledger.archive_folder import Folder
from ledger.store.seal import SealKey, SealKeys, seal_keys
from ledger.store.seal_head import SealHead
from ledger.store.verified import Extent, Verified
from ledger.store.verify import verify
from ledger.store.verify_moment import verify_moment
from tests.support.ledgers import SEAL_KEY, opened

KEYS = seal_keys([SEAL_KEY.text])


def fill(url: str, commits: Iterable[int], size: int = 3, key: SealKey = SEAL_KEY) -> None:
    """Append commits of so many events each; their numbers are the versions of the streams, from 1."""
    with opened(url, key=key) as ledger:
        for commit in commits:
            events = [StoredEvent(f"user:u{number}", commit, "k.v1", b'{"at":1}') for number in range(size)]
            ledger.events_recorder.insert_events(events)


@contextmanager
def unguarded(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A transaction in which what is append-only may be changed; nothing is committed unless the test does it."""
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE events DISABLE TRIGGER USER")
        connection.execute("ALTER TABLE seals DISABLE TRIGGER USER")
        yield connection
        connection.rollback()


def found(
    connection: psycopg.Connection[Any],
    keys: SealKeys = KEYS,
    *,
    after: int | None = None,
    expected: SealHead | None = None,
    archive: Folder | None = None,
) -> Verified:
    """What `verify` finds in the transaction of a connection."""
    return verify(connection, keys, lambda _done, _total: None, Extent(after, expected, archive))


def verified(
    url: str,
    keys: SealKeys = KEYS,
    *,
    after: int | None = None,
    expected: SealHead | None = None,
    archive: Folder | None = None,
) -> Verified:
    """What `verify` finds in a database."""
    with psycopg.connect(url, autocommit=True) as connection:
        return verify_moment(connection, keys, lambda _done, _total: None, Extent(after, expected, archive))
