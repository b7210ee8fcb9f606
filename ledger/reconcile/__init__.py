"""Live reconciliation: which users to look at and when, and what the answers come to."""
