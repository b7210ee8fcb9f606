"""The schema as numbered plain SQL, applied in order and never changed once released (`ledger.store.migrate`)."""
