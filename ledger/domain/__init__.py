"""The rules of presence: pure functions and values, without I/O, clock, or any library of storage or HTTP."""
