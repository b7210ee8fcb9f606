"""What really happened in a run, as a short recording that the fixtures' scorer goes through quickly."""

from collections.abc import Iterable, Mapping
from typing import Any


def as_lines(truth: Mapping[str, Iterable[tuple[float, float]]], end: float) -> list[dict[str, Any]]:
    """The lines of a recording, user by user, from when each was online: {uid: [(from, to), …]}, seconds of the run.

    The scorer compares each connect with every session that is open; here that is one at most, so a run of any size
    takes it a moment instead of minutes.
    """
    lines: list[dict[str, Any]] = []
    conn = 0
    for uid, spans in truth.items():
        for since, until in spans:
            conn += 1
            who = {"kind": "action", "uid": uid, "device_flag": 0, "device_id": "d", "node": "n1", "conn": conn}
            lines.append({"t": since, "do": "connect", **who})
            lines.append({"t": until, "do": "close", **who})
    return [*lines, {"t": end, "kind": "meta", "end": True}]
