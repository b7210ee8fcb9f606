"""The recipe of `docs/push.md` for a backend that follows everybody, run as it stands there: users in the dark."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest

import ledger.client
from ledger.client import AsOf, Cause, Device, Presence, Ready, Resumed, SourceChange
from ledger.client.values import Status, Told
from tests.support.recipes import recipe

AT = datetime(2026, 11, 30, tzinfo=UTC)
AS_OF = AsOf(7, AT, "epoch")
DARK, LIT = SourceChange("main", "dark", AT), SourceChange("main", "lit", AT)
BEGIN = Resumed(False, "fresh", AS_OF)


def told(uid: str, status: Status, *devices: tuple[str, Status], cause: str = "webhook") -> Presence:
    """A user with these devices, each of a source with a status."""
    found = tuple(Device(source, 0, "app", shown, AT, int(shown == "online")) for source, shown in devices)
    return Presence(uid=uid, status=status, since=AT, devices=found, cause=Cause(cause, AT, 7), as_of=AS_OF)


class Follower:
    """In the place of the client: says what it is given, and ends."""

    said: Sequence[Any] = ()

    def __init__(self, *_: str) -> None:
        """As the client's."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """As the client's."""

    def follow(self, **_: object) -> Iterator[Told]:
        for number, said in enumerate(self.said):
            yield Told(said, f"cursor-{number}")


@pytest.fixture
def follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has the backend hear something more -> what its table shows of each user."""
    for name in ("TABLE", "PRESENCE_LEDGER_URL", "PRESENCE_LEDGER_API_KEY"):
        monkeypatch.setenv(name, str(tmp_path / "table"))
    monkeypatch.setattr(ledger.client, "Client", Follower)

    def hear(*said: object) -> dict[str, str]:
        monkeypatch.setattr(Follower, "said", said)
        names: dict[str, Any] = {}
        exec(recipe("push.md", "backend.py"), names)  # noqa: S102  (of our own docs)
        names["table"].close()
        with closing(sqlite3.connect(tmp_path / "table")) as table:
            return dict(table.execute("SELECT uid, status FROM shown"))

    return hear


def test_in_the_dark_a_word_and_what_another_source_says_hold(follow: Any) -> None:
    shown = {"ann": "online", "ben": "offline", "cat": "online", "dan": "online", "eve": "offline", "fay": "online"}
    users = [
        told("ann", "online", ("main", "online")),
        told("ben", "offline", ("main", "offline"), ("other", "offline")),
        told("cat", "online", ("main", "offline"), cause="override"),
        told("dan", "online", ("main", "online"), ("other", "online")),
        told("eve", "offline", ("other", "offline")),
        told("fay", "online", ("main", "offline")),  # in their grace period
    ]
    assert follow(BEGIN, *users, Ready(AS_OF)) == shown
    assert follow(DARK) == shown | {"ann": "unknown", "ben": "unknown", "fay": "unknown"}
    assert follow(told("cat", "unknown", ("main", "unknown")))["cat"] == "unknown"
    assert follow(SourceChange("other", "dark", AT)) == dict.fromkeys(shown, "unknown")
    assert follow(LIT) == shown | {"ben": "unknown", "cat": "unknown", "eve": "unknown"}
    assert follow(BEGIN, *users, Ready(AS_OF)) == shown
