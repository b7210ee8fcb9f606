"""Reconciliation: whom to look at and when, what the answers come to, live or on a recording's polls."""
