"""The spool: webhooks kept in files, and acknowledged, while PostgreSQL does not take them."""
