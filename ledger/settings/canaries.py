"""A canary as the settings have it, and what its uid may be."""

from dataclasses import dataclass, field

MAX_UID_BYTES = 1024
"""Longer ones are rejected items."""

NOT_ALLOWED = "@#&"
"""WuKongIM refuses uids that hold one of these."""


@dataclass(frozen=True)
class CanarySettings:
    """A user of our own who comes to a node's `host`, `port` every so many seconds, stays a moment, and goes.

    A webhook of theirs that has not come within `wait_seconds` counts as lost.
    """

    node: str
    host: str
    port: int
    uid: str
    device_flag: int
    every_seconds: float
    wait_seconds: float
    token: str = field(default="", repr=False)


def canary_uid(value: str) -> str:
    """Raises ValueError for a uid that no webhook could tell of."""
    if not value.strip() or "\0" in value or len(value.encode(errors="replace")) > MAX_UID_BYTES:
        raise ValueError(f"must be the uid of a user, 1 to {MAX_UID_BYTES:,} bytes long")
    if any(sign in value for sign in NOT_ALLOWED):
        raise ValueError(f"must hold none of {' '.join(NOT_ALLOWED)}: WuKongIM refuses such a uid")
    return value
