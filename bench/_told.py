"""How far sinks have been told, as the database knows it."""

import time

import psycopg

from bench._flips import head

_POSITION = "SELECT position FROM sinks WHERE name = %s"


def told_up_to(url: str, sink: str) -> int:
    """The last position that a sink has been told of; -1 before it has begun."""
    with psycopg.connect(url) as connection:
        row = connection.execute(_POSITION, (sink,)).fetchone()
    return -1 if row is None else int(row[0])


def reach(url: str, sink: str, seconds: float) -> None:
    """Wait until a sink has been told of all that is there now. Raises RuntimeError after so many seconds."""
    position, deadline = head(url), time.monotonic() + seconds
    while (told := told_up_to(url, sink)) < position:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{sink} has been told up to {told} of {position} after {seconds:g} s")
        time.sleep(0.05)
