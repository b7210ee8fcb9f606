"""Working state: what the write side and reconciliation keep beside the events; each table in one file."""
