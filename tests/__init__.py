"""The tests, by cost: unit, property, contract (a real PostgreSQL), acceptance (real processes)."""
