"""The store: PostgreSQL, its schema, and the ledger kept in it."""
