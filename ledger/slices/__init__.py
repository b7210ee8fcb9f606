"""Slices of the ledger: exported, imported, pseudonymised, and judged again with the same or another policy."""
