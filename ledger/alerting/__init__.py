"""Evaluating alerts while the service runs: figures gathered, alerts put on record, people told of them."""
