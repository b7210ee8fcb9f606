"""What makes a push notification unnecessary: the numbers of `reach`."""

import msgspec


class ReachPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a push notification unnecessary. It is not on record: nothing in the ledger depends on it."""

    reach_verified_seconds: float = 600.0
    """An online of which nothing has been heard for longer is not relied upon."""
    reach_any_device: bool = False
    """Whether any device of a user's takes the message, not the app alone."""


DEFAULT_REACH = ReachPolicy()
