"""The announcements of an instance: whatever befalls the start that is tried again, the stop goes on record."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState
from ledger.errors import StoreUnavailable
from ledger.ingest.announce import Configuration
from ledger.service import announcing
from ledger.service.announcing import Announcing
from ledger.store.ledger import Ledger
from ledger.working_state.sources import SourceUnreadable
from tests.support.ledgers import wait_until

CONFIGURATION = Configuration(Policy(), Profile.V3, {"n1": Profile.V3})
UNREADABLE = {"two": SourceUnreadable(SourceState("two"), "It is of another time.")}


class Recording:
    """In place of the ledger: what each attempt to announce the start comes to, the last of these again and again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *attempts: Exception | dict[str, SourceUnreadable]) -> None:
        self._left = list(attempts)
        self.starts: list[list[str]] = []
        self.instants: list[tuple[int, int]] = []
        self.stops: list[str] = []
        monkeypatch.setattr(announcing, "announce_start", self._start)
        monkeypatch.setattr(announcing, "announce_stop", self._stop)
        monkeypatch.setattr(announcing, "RETRY_DELAY_SECONDS", 0.01)

    def _start(
        self, _: Any, __: str, ___: str, wanted: Mapping[str, Any], at: int, started_at: int
    ) -> dict[str, SourceUnreadable]:
        self.starts.append(sorted(wanted))
        self.instants.append((at, started_at))
        found = self._left.pop(0) if len(self._left) > 1 else self._left[0]
        if isinstance(found, Exception):
            raise found
        return found

    def _stop(self, _: Any, __: str, names: Iterable[str], ___: int) -> dict[str, SourceUnreadable]:
        self.stops = sorted(names)
        return {}


def lived(recording: Recording, until: Callable[[], bool]) -> list[Any]:
    """Start and, once it has come to that, stop -> the log."""
    now = count().__next__

    async def run() -> None:
        instance = Announcing(cast(Ledger, None), "i", dict.fromkeys(("one", "two"), CONFIGURATION), now)
        await instance.start()
        await asyncio.to_thread(wait_until, until, "attempts to announce the start")
        await instance.stop()

    with capture_logs() as logs:
        asyncio.run(run())
    return [(line["event"], line.get("source") or line.get("sources")) for line in logs]


def test_a_start_that_fails_when_it_is_tried_again_is_said_once_and_the_stop_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recording = Recording(monkeypatch, UNREADABLE, TypeError("a defect"))
    logs = lived(recording, lambda: len(recording.starts) >= 4)
    assert logs == [("start_not_recorded", "two"), ("start_not_recorded", ["two"])]
    assert recording.starts[:4] == [["one", "two"], ["two"], ["two"], ["two"]]
    assert recording.stops == ["one"]


def test_a_start_is_tried_again_until_it_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording(monkeypatch, UNREADABLE, StoreUnavailable("away"), UNREADABLE, TypeError("a defect"), {})
    logs = lived(recording, lambda: len(recording.starts) == 5)
    assert logs == [("start_not_recorded", "two"), ("start_not_recorded", ["two"])]
    assert recording.stops == ["one", "two"]
    assert [started_at for _, started_at in recording.instants] == [0] * 5
    assert recording.instants[-1][0] >= 5
