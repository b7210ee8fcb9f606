"""The settings of sinks as the rest of the product sees them: what all kinds have, and what each kind has beside it."""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Literal

SinkKind = Literal["webhook", "wukongim", "redis"]

SECRET_PREFIX = "whsec_"  # noqa: S105  (what a secret begins with)
MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64


@dataclass(frozen=True)
class WebhookSettings:
    """A webhook of its own for changes, signed as Standard Webhooks are."""

    name: str
    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    """Newest first, `whsec_…`; each of them signs."""
    list: str = ""
    """Only its members are told of; empty: everybody."""
    coalesce_seconds: float = 1.0
    """What changes within it is told once, as it is at its end; 0: at once."""
    every: bool = False
    """Whether each change is told of, none left out."""
    batch: int = 500
    """Changes a request at most."""
    kind: Literal["webhook"] = "webhook"


@dataclass(frozen=True)
class WukongimSettings:
    """The command by which WuKongIM's clients learn of changes, sent to watchers through their own connections."""

    name: str
    source: str
    """The source of the settings whose nodes are used."""
    from_uid: str = ""
    """The sender; empty: as the profile of the source has it."""
    list: str = ""
    """Whose watchers are told of its members; empty: those of every list, each of theirs."""
    coalesce_seconds: float = 1.0
    every: bool = False
    batch: int = 500
    sends_per_second: float = 50.0
    """At most; beyond it the window grows."""
    kind: Literal["wukongim"] = "wukongim"


@dataclass(frozen=True)
class RedisSettings:
    """Values of hot users, their changes and the ledger's head in a Redis."""

    name: str
    url: str = field(repr=False)
    list: str = ""
    """The list whose members are hot; empty: the members of every list."""
    coalesce_seconds: float = 0.0
    every: bool = False
    batch: int = 500
    prefix: str = ""
    """What every key begins with."""
    hot_seconds: float = 300.0
    """So long after somebody asked about them a user is hot, and so long the value is kept of one who no longer is."""
    kind: Literal["redis"] = "redis"


SinkSettings = WebhookSettings | WukongimSettings | RedisSettings
"""One sink, by its kind."""


def webhook_signing_secret(value: str) -> str:
    """A secret of Standard Webhooks. Raises ValueError, without the secret."""
    reason = f"must be {SECRET_PREFIX} and the base64 of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} random bytes"
    if not value.startswith(SECRET_PREFIX):
        raise ValueError(reason)
    try:
        key = base64.b64decode(value.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(reason) from None
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise ValueError(f"{reason}, not of {len(key)}")
    return value
