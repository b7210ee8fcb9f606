"""Replay: recordings and slices of the ledger judged by the same rules, in memory, on a virtual clock."""
