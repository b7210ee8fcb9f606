"""The engine: follows the ledger by position, exactly once, and rebuilds alongside the live tables; knows no model."""
