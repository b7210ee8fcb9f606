"""The secrets that all instances of a ledger share, known to its database by fingerprints; their table.

An instance whose settings give it a secret is believed: that is how secrets are rotated. One that would make a secret,
or keeps one that the ledger does not know, would refuse the others' webhooks and seal with a key of its own: it is
refused.
"""

import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from psycopg import Connection

from ledger.errors import LedgerError
from ledger.settings import (
    SEAL_KEY_FILE,
    Settings,
    SourceSettings,
    kept_secret,
    known_seal_keys,
    sealing_key,
    webhook_secret_file,
    webhook_secrets,
)
from ledger.store import seals
from ledger.store.data_folder import DataFolder
from ledger.store.seal import SealKey, SealKeys, seal_keys

SEAL_KEYS = "seal_keys"

# Of two instances that start at once, one finds what the other one has made.
_LOCK = "LOCK TABLE known_secrets IN SHARE ROW EXCLUSIVE MODE"

_READ = "SELECT name, key_id, fingerprints FROM known_secrets"

_WRITE = """
INSERT INTO known_secrets (name, key_id, fingerprints) VALUES (%s, %s, %s)
    ON CONFLICT (name) DO UPDATE SET key_id = excluded.key_id, fingerprints = excluded.fingerprints
"""

_PURPOSE = b"presence ledger webhook secret\n"
_FINGERPRINT_BYTES = 16


class SecretsElsewhere(LedgerError):
    """The instances of the ledger share secrets that this one does not have."""


class Known(NamedTuple):
    """The fingerprints of a secret, and the seal key that they were made with."""

    key_id: bytes
    fingerprints: frozenset[bytes]


def fingerprint(key: SealKey, source: str, secret: str) -> bytes:
    """What tells a source's webhook secret from another one, and reveals nothing of it without the seal key."""
    message = _PURPOSE + f"{source}\n{secret}".encode()
    return hmac.digest(key.secret, message, "sha256")[:_FINGERPRINT_BYTES]


def agree(
    connection: Connection[Any], settings: Settings, folder: DataFolder, sources: Sequence[SourceSettings]
) -> list[str]:
    """See to it that this instance has the ledger's secrets, those of `sources` among them; the first one makes them.

    -> which ones the settings have replaced, so that instances with the older ones no longer agree. Raises
    SecretsElsewhere, with nothing made and nothing written. An embedded database has one instance, which is right.
    """
    with connection.transaction():
        connection.execute(_LOCK)
        known = {name: Known(key, frozenset(prints)) for name, key, prints in connection.execute(_READ)}
        if settings.database_url and (missing := list(_missing(connection, settings, sources, known))):
            raise SecretsElsewhere(_explain(missing))
        return list(_agree(connection, settings, folder, sources, known))


def _missing(
    connection: Connection[Any], settings: Settings, sources: Sequence[SourceSettings], known: Mapping[str, Known]
) -> Iterator[str]:
    """The settings that this instance needs, since it does not have what the others have."""
    lacks_key = not settings.seal_keys and not _keeps_key(connection, settings, known)
    if lacks_key:
        yield SEAL_KEYS
    keys = seal_keys(known_seal_keys(settings))
    for source in sources:
        there = known.get(_name(source))
        if source.webhook_secrets or there is None:
            continue
        kept = kept_secret(settings, webhook_secret_file(source.name))
        # Without the ledger's key there is no telling whether it is the right one.
        cannot_tell = lacks_key and there.key_id not in keys
        if kept is None or cannot_tell or not _knows(there, keys, source, [kept]):
            yield f"webhook_secret of the source {source.name}"


def _keeps_key(connection: Connection[Any], settings: Settings, known: Mapping[str, Known]) -> bool:
    """Whether the key that is kept here is one of the ledger's, or may become its first."""
    last = seals.last_key(connection)
    ids = known[SEAL_KEYS].fingerprints if SEAL_KEYS in known else frozenset({last} if last else ())
    kept = kept_secret(settings, SEAL_KEY_FILE)
    return not ids or (kept is not None and SealKey(kept).id in ids)


def _agree(
    connection: Connection[Any],
    settings: Settings,
    folder: DataFolder,
    sources: Sequence[SourceSettings],
    known: Mapping[str, Known],
) -> Iterator[str]:
    """Make what there is not, and write down what the settings or the first start say -> what was replaced."""
    key = SealKey(sealing_key(settings, folder.secret))
    keys = seal_keys(known_seal_keys(settings))
    if settings.seal_keys and SEAL_KEYS in known and not known[SEAL_KEYS].fingerprints & keys.keys():
        yield SEAL_KEYS
    if settings.seal_keys or SEAL_KEYS not in known or not settings.database_url:
        _write(connection, SEAL_KEYS, key, keys)
    for source in sources:
        secrets, there = webhook_secrets(source, folder.secret), known.get(_name(source))
        if there is not None and not _knows(there, keys, source, secrets):
            yield _name(source)
        elif there is not None and not source.webhook_secrets and there.key_id in keys:
            # Another instance may accept more of them: that is left as it is.
            continue
        _write(connection, _name(source), key, [fingerprint(key, source.name, secret) for secret in secrets])


def _knows(there: Known, keys: SealKeys, source: SourceSettings, secrets: Iterable[str]) -> bool:
    """Whether the ledger knows one of these secrets, as far as can be told: the key that tells may not be here."""
    key = keys.get(there.key_id)
    return key is None or any(fingerprint(key, source.name, secret) in there.fingerprints for secret in secrets)


def _write(connection: Connection[Any], name: str, key: SealKey, fingerprints: Iterable[bytes]) -> None:
    connection.execute(_WRITE, (name, key.id, list(fingerprints)))


def _name(source: SourceSettings) -> str:
    return f"webhook_secret {source.name}"


def _explain(missing: Sequence[str]) -> str:
    return (
        "The instances of this ledger share secrets that this one does not have; with its own it would refuse their "
        f"webhooks and seal with another key.\nSet {', '.join(missing)}, as on the other instances."
    )
