"""Alerts: what is wrong, since when, on what it rests; each begins and ends once, and is on record."""
