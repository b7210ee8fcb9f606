"""The numbers of the rules, as one value: windows, grace, tiers, confirmations, breaker, budget; the rules' version."""

import msgspec

RULES_VERSION = 4
"""Raised whenever the rules judge some evidence otherwise than they did; each configuration on record carries it."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in seconds, shares between 0 and 1. `docs/operations.md` says what each number does."""

    grace_seconds: float = 0.0
    reorder_seconds: float = 2.0
    dedupe_seconds: float = 60.0
    dark_seconds: float = 900.0
    tier_vip_seconds: float = 30.0
    tier_normal_seconds: float = 300.0
    tier_cold_seconds: float = 3600.0
    confirm_seconds: float = 3.0
    confirmations: int = 2
    breaker_share: float = 0.2
    breaker_minimum: int = 20
    breaker_seconds: float = 60.0
    breaker_hold_seconds: float = 60.0
    budget_calls: float = 20.0
    budget_users: float = 20000.0


DEFAULT_POLICY = Policy()
