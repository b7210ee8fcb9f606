"""Presence ledger: who was online when, from WuKongIM's webhooks, kept as immutable events."""

__version__ = "0.1.0"
