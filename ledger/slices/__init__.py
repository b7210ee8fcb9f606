"""Slices of the ledger: exported, imported, pseudonymised."""
