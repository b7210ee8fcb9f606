"""What tokens of streams are signed with: made of the seal key, which all instances share, and of a generation.

The generation is a row of the ledger: once it is another, no token signed before is valid. Alone it signs nothing, and
what is made of the seal key for it reveals nothing of that. The one place that knows the table.
"""

import hmac
from collections.abc import Iterable
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from psycopg import Connection

from ledger.store.seal import SealKey

_PURPOSE = b"presence ledger stream tokens\n"

_READ = "SELECT generation FROM stream_tokens"
_RENEW: LiteralString = "UPDATE stream_tokens SET generation = gen_random_uuid(), since = now()"


class TokenRoot(NamedTuple):
    """What a generation's key is made of, where a seal key is known; `name` tells nothing of it."""

    name: str
    secret: bytes

    def key(self, generation: UUID) -> bytes:
        """The key of 32 bytes that tokens of a generation are signed with."""
        return hmac.digest(self.secret, generation.bytes, "sha256")


def roots(seal_keys: Iterable[str]) -> list[TokenRoot]:
    """Of each seal key, in their order: the first one signs, all of them are accepted."""
    keys = [SealKey(text) for text in dict.fromkeys(seal_keys)]
    return [TokenRoot(key.id.hex(), hmac.digest(key.secret, _PURPOSE, "sha256")) for key in keys]


def generation(connection: Connection[Any]) -> UUID:
    """The generation of tokens that are valid."""
    row = connection.execute(_READ).fetchone()
    assert row is not None
    found: UUID = row[0]
    return found


def revoke_all(connection: Connection[Any]) -> None:
    """From here on no token is valid that was signed before."""
    connection.execute(_RENEW)
