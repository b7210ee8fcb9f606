"""Working state: what the write side and reconciliation keep next to the events; each table in one file."""
