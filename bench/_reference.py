"""The rules of a usual business server (TangSengDaoDao's), to compare with: last write wins, and a check now and then.

A table of (uid, device flag) is overwritten by each webhook item. Every five minutes some rows that have been online
for over a minute are asked about, and those missing from the answer are set offline.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

ITEM = re.compile(r"(.+)-(\d+)-([01])-(\d+)-(\d+)-(\d+)", re.DOTALL)
OK = 200

Key = tuple[str, int]
Ask = Callable[[list[str]], tuple[int, bytes]]
"""Asks POST /user/onlinestatus about uids -> (status, body)."""


@dataclass(slots=True)
class _Row:
    online: bool
    since: float


class Reference:
    """The table and what it showed. Instants are seconds of the run, and never go back.

    `period_seconds` is between two checks, `age_seconds` how long a row must have been online to be asked about,
    `limit` how many rows are asked about at most. What is said of rows that came online again between question and
    answer is believed all the same, as there.
    """

    def __init__(self, *, period_seconds: float = 300.0, age_seconds: float = 60.0, limit: int = 1000) -> None:
        self._period_seconds, self._age_seconds, self._limit = period_seconds, age_seconds, limit
        self._rows: dict[Key, _Row] = {}
        self._devices: dict[str, int] = {}
        self._next_at = period_seconds
        self._now = 0.0
        self.transitions: dict[str, list[tuple[float, str]]] = {}
        self.asked = 0
        self.set_offline = 0

    def webhook(self, t: float, body: bytes | str) -> None:
        """Take a webhook that was answered 200; what is not a list of items is ignored.

        An offline of a device that has another connection by its own count changes nothing.
        """
        try:
            items = json.loads(body)
        except ValueError:
            return
        for item in items if isinstance(items, list) else ():
            match = ITEM.fullmatch(item) if isinstance(item, str) else None
            if match is None:
                continue
            uid, flag, online, device_count = match[1], int(match[2]), match[3] == "1", int(match[5])
            if online or device_count == 0:
                self._write(t, (uid, flag), online)

    def question(self, t: float) -> list[Key]:
        """The rows to be asked about now, none unless a check is due; `answer` brings what was said of them."""
        if t < self._next_at:
            return []
        while self._next_at <= t:
            self._next_at += self._period_seconds
        old = (key for key, row in self._rows.items() if row.online and t - row.since > self._age_seconds)
        rows = list(islice(old, self._limit))
        self.asked += len(rows)
        return rows

    def answer(self, t: float, rows: Iterable[Key], status: int, body: bytes) -> None:
        """Set offline which of the rows are missing from an answer; an error or no list changes nothing.

        `null` is Go's empty list.
        """
        try:
            said: Any = json.loads(body) if status == OK else {}
        except ValueError:
            return
        if said is not None and not isinstance(said, list):
            return
        online = {(row.get("uid"), row.get("device_flag")) for row in said or () if row.get("online") == 1}
        for key in rows:
            if key not in online and self._rows[key].online:
                self.set_offline += 1
                self._write(t, key, online=False)

    def check(self, t: float, ask: Ask) -> None:
        """Question and answer at one instant, if a check is due."""
        rows = self.question(t)
        if rows:
            self.answer(t, rows, *ask(list(dict.fromkeys(uid for uid, _ in rows))))

    def result(self) -> dict[str, dict[str, list[tuple[float, str]]]]:
        """What was shown, as the fixtures' scorer takes it: {uid: {"transitions": [(t, status), …]}}."""
        return {uid: {"transitions": list(shown)} for uid, shown in self.transitions.items()}

    def _write(self, t: float, key: Key, online: bool) -> None:
        self._now = t = max(t, self._now)
        row = self._rows.setdefault(key, _Row(online=False, since=t))
        if online:
            row.since = t
        uid = key[0]
        self._devices[uid] = self._devices.get(uid, 0) + online - row.online
        row.online = online
        status = "online" if self._devices[uid] else "offline"
        shown = self.transitions.setdefault(uid, [])
        if not shown or shown[-1][1] != status:
            shown.append((t, status))
