"""The event of an erasure, of the service's own stream: who asked for it, why, and which positions it took.

It never names the user. Nothing of who is online follows from it.
"""

import msgspec

from ledger.domain.observation import Instant


class Redacted(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A source's event that named the user beside others, and the SHA-256 of what is left, hexadecimal."""

    position: int
    digest: str


class UserErased(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A user was erased, as they had asked."""

    at: Instant
    by: str
    """The API key's name."""
    reason: str
    """As it was given, but for the uid."""
    uid_hash: str
    """HMAC-SHA-256 of the uid, hexadecimal: who has the key and a uid can tell whether it was this one."""
    key_id: str
    """Of the seal key that the hash was made with."""
    events: int
    """The user's own, which are gone."""
    positions: str = ""
    """Of those, as `pack_positions` gives them."""
    redacted: tuple[Redacted, ...] = ()
