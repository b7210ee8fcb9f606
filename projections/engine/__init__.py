"""The engine of projections: follows the ledger by position, exactly once, and rebuilds alongside the live ones."""
