"""Projections: read models built from the ledger's events, each with its table, handler and queries in one file."""
